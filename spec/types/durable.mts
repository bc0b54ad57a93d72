// Durable continuations: the argument is typed by the definition; the backend on PostgreSQL needs no types of pg.
import {
  durable,
  memory,
  type Definition,
  type Durable,
  type DurableKcont,
  type DurableState,
  type StandardSchema,
} from 'kcont/durable';
import { graphile } from 'kcont/durable/graphile';

const jobs: Durable = await durable({
  backend:
    process.env['DATABASE_URL'] === undefined
      ? memory()
      : graphile({ connectionString: process.env['DATABASE_URL'] }),
  node: 'web-1',
});
declare const schema: StandardSchema<{ to: string }>;

const mail: Definition<{ to: string }> = jobs.define(
  'mail',
  { wq: 'primedlow', schema, maxAttempts: 3, backoff: { baseMs: 100, jitter: 'none' } },
  async (arg, invocation) => {
    const text: string = arg.to;
    invocation.signal.throwIfAborted();
    await invocation.client.query('insert into sent values ($1)', [text]);
  },
);
const kc: DurableKcont<{ to: string }> = jobs.kcont('mail:42', mail, { to: 'ann' }, { lock: 'a' });
// @ts-expect-error -- the argument of another function
jobs.kcont('mail:42', mail, { from: 'ann' });
// @ts-expect-error -- no such workqueue
jobs.define('other', { wq: 'low' }, () => undefined);

const isScheduled: boolean = await kc.schedule(1000);
const state: DurableState = await kc.state();
const { withdrawn, running } = await kc.cancel();
console.log(isScheduled, state.dueInMs, withdrawn, running);
await jobs.close({ graceMs: 1000 });

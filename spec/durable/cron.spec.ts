import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { KcontError, Kernel } from '../../lib/index.ts';
import { durable, type Durable, type DurableKcont } from '../../lib/durable/index.ts';
import { graphile } from '../../lib/durable/graphile/index.ts';
import {
  DATABASE_URL,
  dropSchema,
  needsDatabase,
  newSchema,
  withClient,
} from '../support/database.ts';

describe('cron()', function () {
  this.timeout(40_000);
  needsDatabase(this);
  let schema: string;
  let nodes: Durable[];

  beforeEach(() => {
    schema = newSchema();
    nodes = [];
  });

  afterEach(async () => {
    await Promise.all(nodes.map((jobs) => jobs.close({ graceMs: 0 })));
    await dropSchema(schema);
  });

  async function node(name: string, concurrency: number = 10): Promise<Durable> {
    const backend = graphile({ connectionString: DATABASE_URL as string, schema });
    const jobs = await durable({ backend, node: name, kernel: new Kernel(), concurrency });
    nodes.push(jobs);
    return jobs;
  }

  const until = async (condition: () => Promise<boolean> | boolean): Promise<void> => {
    while (!(await condition())) await sleep(5);
  };
  const sql = async (text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> =>
    (await withClient((client) => client.query<Record<string, unknown>>(text, values))).rows;
  const known = (): Promise<unknown[]> =>
    sql(`select identifier from ${schema}_worker._private_known_crontabs`);
  /** As if the times of the last ten minutes had passed while no node was up. */
  const missTenMinutes = (): Promise<unknown> =>
    sql(`update ${schema}_worker._private_known_crontabs
      set known_since = now() - interval '1 hour', last_execution = now() - interval '10 minutes'`);
  /** A pattern of the minutes that ended 3, 4 and 5 minutes ago. */
  const missed = (): string => {
    const minutes = [3, 4, 5].map((ago) => new Date(Date.now() - ago * 60_000).getUTCMinutes());
    return `${minutes.join(',')} * * * *`;
  };
  /** What the cron does at a time. */
  const tick = async (): Promise<void> => {
    await sql(`select ${schema}_worker.add_job('kcont:cron', (
      select payload from ${schema}.payloads limit 1))`);
    await until(async () => {
      const rows = await sql(
        `select 1 from ${schema}_worker.jobs where task_identifier = 'kcont:cron'`,
      );
      return rows.length === 0;
    });
  };
  /** Keeps the payload of a tick, as the cron has added it when it caught up. */
  const keepTicks = (): Promise<unknown> =>
    sql(
      `create table ${schema}.payloads as select null::json as payload limit 0;
      create function ${schema}.keep() returns trigger language plpgsql as $$ begin
        if new.payload ? '_cron' then insert into ${schema}.payloads values (new.payload - '_cron'); end if;
        return new; end $$;
      create trigger keep after insert on ${schema}_worker._private_jobs
        for each row execute function ${schema}.keep()`.replaceAll(
        'new.payload',
        'new.payload::jsonb',
      ),
    );

  it('refuses a pattern that is none, and a node that has never been up', async () => {
    const jobs = await node('a');
    jobs.define('note', () => undefined);
    for (const [code, pattern, options] of [
      ['EINVAL', '99 * * * *', {}],
      ['EINVAL', 'every minute', {}],
      ['ENOENT', '* * * * *', { node: 'nobody' }],
    ] as const) {
      const bad = await jobs
        .cron('x', pattern, 'note', null, options)
        .catch((error: unknown) => error);
      expect(bad).to.be.an.instanceof(KcontError).that.includes({ code });
    }
  });

  it('registers all that are taken together', async () => {
    const jobs = await node('a');
    jobs.define('note', () => undefined);
    const ids = Array.from({ length: 12 }, (_, i) => `x${i}`);
    await Promise.all(ids.map((id) => jobs.cron(id, '0 3 * * *', 'note', null)));
    await until(async () => (await known()).length === ids.length);
  });

  it('ends the connections of the cron before', async () => {
    const jobs = await node('a', 1);
    jobs.define('note', () => undefined);
    for (let i = 0; i < 12; i++) await jobs.cron(`x${i}`, '0 3 * * *', 'note', null);
    const endedMs = performance.now();
    await until(async () => {
      const [row] = await sql(`select count(*)::integer as count from pg_stat_activity
        where application_name in (select 'kcont:' || session from ${schema}.nodes)`);
      // The liveness, the worker, the cron, and one before it that is ending.
      return (row?.['count'] as number) <= 1 + 3 + 3 + 3;
    });
    // Idle connections end by themselves after ten.
    expect(performance.now() - endedMs).to.be.below(6000);
  });

  it('skips what was missed', async () => {
    const ran: string[] = [];
    const first = await node('a');
    first.define('note', () => undefined);
    await first.cron('x', missed(), 'note', null);
    await until(async () => (await known()).length > 0);
    await first.close();
    await missTenMinutes();
    const jobs = await node('b');
    jobs.define('note', (text: string) => void ran.push(text));
    await jobs.cron('x', missed(), 'note', 'x');
    await jobs.cron('y', '0 3 * * *', 'note', 'y');
    await until(async () => (await known()).length > 1);
    await sleep(500);
    expect((await jobs.kcont('x', 'note', '').state()).pending).to.equal(false);
    expect(ran).to.deep.equal([]);
  });

  it('catches up with all that was missed by one run, on one node', async () => {
    const ran: string[] = [];
    const first = await node('a');
    first.define('note', () => undefined);
    const pattern = missed();
    await first.cron('x', pattern, 'note', null);
    await until(async () => (await known()).length > 0);
    await first.close();
    await missTenMinutes();
    for (const name of ['b', 'c']) {
      const jobs = await node(name);
      jobs.define('note', (text: string) => void ran.push(text));
    }
    await Promise.all(
      nodes.slice(1).map((jobs) => jobs.cron('x', pattern, 'note', 'x', { catchUpMs: 600_000 })),
    );
    const kc = nodes[1]?.kcont('x', 'note', '') as DurableKcont<string>;
    let longestMs = 0;
    await until(async () => {
      const { dueInMs, pending } = await kc.state();
      if (pending) longestMs = Math.max(longestMs, dueInMs);
      return ran.length > 0;
    });
    // It waits for others that were missed.
    expect(longestMs).to.be.above(500);
    await sleep(3000);
    expect(ran).to.deep.equal(['x']);
  });

  it('leaves a run in flight alone: stop and drain find it', async () => {
    const jobs = await node('a');
    let begun = 0;
    let finish = (): void => undefined;
    jobs.define('note', () => {
      begun++;
      return new Promise<void>((resolve) => {
        finish = resolve;
      });
    });
    const pattern = missed();
    await jobs.cron('x', pattern, 'note', null);
    await until(async () => (await known()).length > 0);
    await keepTicks();
    await missTenMinutes();
    await jobs.cron('x', pattern, 'note', null, { catchUpMs: 600_000 });
    await until(() => begun > 0);
    const kc = jobs.kcont('x', 'note', null);
    await tick();
    expect(await kc.state()).to.include({ invoking: true, pending: false });
    finish();
    await kc.drain();
    expect(await kc.state()).to.include({ running: false, pending: false });
    expect(begun).to.equal(1);
    await tick();
    await until(() => begun === 2);
    await tick();
    expect(await kc.cancel()).to.deep.equal({ withdrawn: false, running: true });
    finish();
    await kc.drain();
    expect(begun).to.equal(2);
  });

  it('leaves alone what is parked', async () => {
    const jobs = await node('a');
    const ran: string[] = [];
    jobs.define('note', (text: string) => void ran.push(text));
    const pattern = missed();
    await jobs.cron('x', pattern, 'note', 'x');
    await until(async () => (await known()).length > 0);
    await keepTicks();
    await missTenMinutes();
    await jobs.cron('x', pattern, 'note', 'x', { catchUpMs: 600_000 });
    await until(() => ran.length > 0);
    const kc = jobs.kcont('x', 'note', 'x');
    await kc.schedule(600_000);
    // As if it had killed as many processes as its limit.
    await sql(`update ${schema}_worker._private_jobs set attempts = max_attempts where key = 'x'`);
    await tick();
    expect(await kc.state()).to.include({ parked: true, pending: false });
    expect(ran).to.deep.equal(['x']);
    await jobs.release('x');
    await until(() => ran.length > 1);
  });
});

// Two processes share the reminders; one is killed in the middle of its work.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import { OUTBOX, type Sent } from './reminders.ts';

const REMINDERS = 120;
const RECIPIENTS = 6;

/** Runs the demonstration; returns the exit code. */
export async function runDemo(main: string, url: string): Promise<number> {
  const pool = new Pool({ connectionString: url });
  const env = { ...process.env, DATABASE_URL: url };
  const start = (node: string): Mailer => new Mailer(main, node, env);
  try {
    await pool.query('drop table if exists mailer_outbox');
    await pool.query(OUTBOX);
    const first = start('mailer-1');
    const second = start('mailer-2');
    const ports = await Promise.all([first.port, second.port]);
    console.log(`two mailers, ${REMINDERS} reminders for ${RECIPIENTS} recipients`);
    for (let i = 0; i < REMINDERS; i++) {
      const body = JSON.stringify({ to: `user-${i % RECIPIENTS}`, text: 'hello', inMs: 1000 + i });
      const at = `http://127.0.0.1:${ports[i % 2]}/reminders/demo-${i}`;
      const { ok } = await fetch(at, { method: 'POST', body });
      if (!ok) throw new Error(`${at} failed`);
    }
    while ((await sent(pool)).length < REMINDERS / 3 || !(await isSending(pool, 'mailer-1'))) {
      await sleep(10);
    }
    first.child.kill('SIGKILL');
    console.log(`mailer-1 is killed after ${(await sent(pool)).length} reminders`);
    while (new Set((await sent(pool)).map(({ id }) => id)).size < REMINDERS) await sleep(20);
    second.child.kill('SIGTERM');
    await second.gone;
    return judge(await lines(pool));
  } finally {
    await pool.end();
  }
}

/** A mailer in a process of its own. */
class Mailer {
  readonly child: ChildProcess;
  readonly port: Promise<number>;
  readonly gone: Promise<unknown>;

  constructor(main: string, node: string, env: NodeJS.ProcessEnv) {
    this.child = fork(main, ['--node', node], {
      env,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.port = once(this.child, 'message').then(([port]) => port as number);
    this.gone = once(this.child, 'exit');
  }
}

async function lines(pool: Pool): Promise<Sent[]> {
  const { rows } = await pool.query<Sent>(
    'select id, recipient as to, node, event from mailer_outbox order by seq',
  );
  return rows;
}

async function sent(pool: Pool): Promise<Sent[]> {
  return (await lines(pool)).filter(({ event }) => event === 'sent');
}

/** Whether a mailer is in the middle of sending. */
async function isSending(pool: Pool, node: string): Promise<boolean> {
  const log = await lines(pool);
  const open = new Set(log.map(({ id }) => id));
  for (const { id, event } of log) if (event === 'sent') open.delete(id);
  return log.some((line) => line.node === node && open.has(line.id));
}

function judge(log: readonly Sent[]): number {
  const done = log.filter(({ event }) => event === 'sent');
  const lost = REMINDERS - new Set(done.map(({ id }) => id)).size;
  const begun = log.filter(({ event }) => event === 'sending').length;
  const holder = new Map<string, Sent>();
  let twoHolders = 0;
  for (const line of log) {
    const { id, to, node, event } = line;
    const held = holder.get(to);
    if (event === 'sending') holder.set(to, line);
    // Somebody else began for this recipient before it had ended.
    else if (held?.id !== id || held.node !== node) twoHolders++;
  }
  console.log(`sent: ${done.length}; lost: ${lost}; sent by two holders: ${twoHolders}`);
  console.log(`begun again, because their process was killed: ${begun - REMINDERS}`);
  return lost === 0 && twoHolders === 0 && done.length === REMINDERS ? 0 : 1;
}

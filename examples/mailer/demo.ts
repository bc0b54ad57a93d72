// Two processes share the reminders; one is killed in the middle of its work.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import type { Sent } from './reminders.ts';

const REMINDERS = 120;
const RECIPIENTS = 6;

/** Runs the demonstration; returns the exit code. */
export async function runDemo(main: string, url: string): Promise<number> {
  const pool = new Pool({ connectionString: url });
  const env = { ...process.env, DATABASE_URL: url };
  const schema = `mailer_demo_${process.pid}`;
  const mailers: Mailer[] = [];
  const start = (node: string): Mailer => {
    const mailer = new Mailer(main, node, schema, env);
    mailers.push(mailer);
    return mailer;
  };
  const lines = async (): Promise<Sent[]> => {
    const { rows } = await pool.query<Sent>(
      `select id, recipient as to, node, event from ${schema}.outbox order by seq`,
    );
    return rows;
  };
  try {
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
    for (;;) {
      const log = await lines();
      if (sent(log).length >= REMINDERS / 3 && isSending(log, 'mailer-1')) break;
      await sleep(10);
    }
    first.child.kill('SIGKILL');
    console.log(`mailer-1 is killed after ${sent(await lines()).length} reminders`);
    while (new Set(sent(await lines()).map(({ id }) => id)).size < REMINDERS) await sleep(20);
    second.child.kill('SIGTERM');
    await second.gone;
    return judge(await lines());
  } finally {
    for (const { child } of mailers) child.kill('SIGKILL');
    await Promise.all(mailers.map(({ gone }) => gone));
    await pool.query(`drop schema if exists ${schema} cascade`);
    await pool.query(`drop schema if exists ${schema}_worker cascade`);
    await pool.end();
  }
}

/** A mailer in a process of its own. */
class Mailer {
  readonly child: ChildProcess;
  readonly port: Promise<number>;
  readonly gone: Promise<unknown>;

  constructor(main: string, node: string, schema: string, env: NodeJS.ProcessEnv) {
    this.child = fork(main, ['--node', node, '--schema', schema], {
      env,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.port = once(this.child, 'message').then(([port]) => port as number);
    this.gone = once(this.child, 'exit');
  }
}

function sent(log: readonly Sent[]): readonly Sent[] {
  return log.filter(({ event }) => event === 'sent');
}

/** Whether a mailer is in the middle of sending. */
function isSending(log: readonly Sent[], node: string): boolean {
  const open = new Set(log.map(({ id }) => id));
  for (const { id } of sent(log)) open.delete(id);
  return log.some((line) => line.node === node && open.has(line.id));
}

function judge(log: readonly Sent[]): number {
  const done = sent(log);
  const different = new Set(done.map(({ id }) => id)).size;
  const lost = REMINDERS - different;
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
  console.log(`sent: ${different}; lost: ${lost}; sent by two holders: ${twoHolders}`);
  // A process that is killed after it has sent a reminder, but before that is stored, makes it be sent again.
  const again = done.length - different;
  console.log(
    `begun again, because their process was killed: ${begun - REMINDERS}; sent again: ${again}`,
  );
  return lost === 0 && twoHolders === 0 ? 0 : 1;
}

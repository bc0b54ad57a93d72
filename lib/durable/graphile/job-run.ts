/*
 * A run of a job: what its function gets, and what is stored when it has ended.
 *
 * graphile-worker completes the job when the task returns. If something follows (a retry, the next period),
 * it is scheduled before that under the same name, which takes the name from the job in the same transaction:
 * from then on the job never runs again, even if the process dies before it is completed.
 */

import { KcontError } from '../../base/errors.ts';
import { never } from '../../base/nothing.ts';
import type { BackendHost, BackendOutcome, BackendRun, DurableClient } from '../backend.ts';
import { isFenced, isLimit } from './connection-errors.ts';
import { flagsOf, payloadOf, readPayload, taskOf, type Payload } from './payload.ts';
import { sleep } from './real-time.ts';
import type { Session } from './session.ts';
import type { Job } from './worker.ts';

/** How often a run looks whether an earlier run of the same name has settled, in ms. */
const AGAIN_MS = 20;

/**
 * Runs a job.
 *
 * @returns a promise that never settles if the session has lost the job, or has to give it back: then it must
 * not be completed
 *
 * @internal
 */
export async function runJob(
  host: BackendHost,
  session: Session,
  handler: string,
  job: Job,
): Promise<void> {
  const payload = readPayload(job.payload);
  if (payload === undefined) {
    host.report(new KcontError('EINVAL', `job ${job.id} of ${handler} has no payload of kcont`));
    return;
  }
  try {
    if (!(await mayBegin(session, payload.id, job))) return;
    const outcome = await host.run(makeRun(session, handler, job, payload));
    if (session.isOver || outcome.kind === 'refused') return await never;
    await follow(session, handler, job, payload, outcome);
  } catch (error) {
    // Something else than a connection: the job is run again, as if the process had died.
    session.lost(error);
  }
  if (session.isOver) await never;
}

function makeRun(session: Session, handler: string, job: Job, payload: Payload): BackendRun {
  const transaction = <T>(work: (client: DurableClient) => Promise<T>): Promise<T> =>
    fenced(session, work);
  return {
    id: payload.id,
    handler,
    arg: 'arg' in payload ? JSON.stringify(payload.arg) : undefined,
    failed: payload.failed,
    backoffMs: payload.backoffMs,
    crashes: Math.max(job.attempts - 1, 0),
    signal: session.signal,
    client: {
      query: (text, values) => transaction((client) => client.query(text, values)),
    },
    transaction,
    ack: async () => {
      const { own } = session.settings.schemas;
      const sql = `select ${own}.ack($1, $2) as ack`;
      try {
        const { rows } = await session.statements.query<{ ack: boolean }>(sql, [
          payload.id,
          job.id,
        ]);
        return rows[0]?.ack === true;
      } catch (error) {
        if (session.isOver) throw session.signal.reason;
        throw error;
      }
    },
  };
}

/** Runs statements in a transaction that is refused, or rolled back, once the node has been cut off. */
async function fenced<T>(
  session: Session,
  work: (client: DurableClient) => Promise<T>,
): Promise<T> {
  const { own } = session.settings.schemas;
  try {
    const client = await session.handlers.connect();
    let isOpen = true;
    let isBroken = false;
    let ended: unknown;
    const onEnded = (error: unknown): void => {
      ended ??= error;
    };
    client.on('error', onEnded);
    try {
      await client.query('begin');
      await client.query(`select ${own}.check_session($1, $2)`, [session.node, session.token]);
      let failure: unknown;
      const result = await work({
        query: async (text, values) => {
          if (!isOpen) throw new KcontError('EINVAL', 'the transaction has ended');
          try {
            return await client.query(text, values);
          } catch (error) {
            failure = error;
            throw error;
          }
        },
      });
      isOpen = false;
      const { command } = await client.query('commit');
      // PostgreSQL rolls back a transaction in which a statement has failed, without an error.
      if (command === 'ROLLBACK') throw failure;
      return result;
    } catch (error) {
      isOpen = false;
      if (isLimit(error)) session.limit(client);
      isBroken = !(await rolledBack(client));
      // What a statement says after that is only that there is no connection any more.
      throw isLimit(ended) ? ended : error;
    } finally {
      client.off('error', onEnded);
      client.release(isBroken);
    }
  } catch (error) {
    if (isFenced(error)) session.lost(error);
    if (session.isOver) throw session.signal.reason;
    throw error;
  }
}

async function rolledBack(client: { query(text: string): Promise<unknown> }): Promise<boolean> {
  try {
    await client.query('rollback');
    return true;
  } catch {
    return false;
  }
}

/**
 * Waits until earlier runs of the name have settled, if there were any when this one was scheduled. False: it
 * was stopped meanwhile.
 */
async function mayBegin(session: Session, id: string, job: Job): Promise<boolean> {
  if (job.flags?.['after'] !== true) return true;
  const { own } = session.settings.schemas;
  for (;;) {
    const { rows } = await session.statements.query<{ may: string }>(
      `select ${own}.may_begin($1, $2) as may`,
      [id, job.id],
    );
    if (rows[0]?.may !== 'wait') return rows[0]?.may === 'run';
    await sleep(AGAIN_MS);
  }
}

/** Stores what follows. */
async function follow(
  session: Session,
  handler: string,
  job: Job,
  payload: Payload,
  outcome: BackendOutcome,
): Promise<void> {
  const { failed, everyMs, affinity, node, lock, id } = payload;
  if (outcome.kind === 'done' && failed === 0 && everyMs === 0) return;
  const arg = 'arg' in payload ? JSON.stringify(payload.arg) : undefined;
  const request = {
    ...payload,
    handler,
    arg,
    priority: 0,
    delayMs: 0,
    crashLimit: job.max_attempts,
  };
  const retry = outcome.kind === 'retry' ? outcome : undefined;
  const next =
    retry === undefined ? payloadOf(request) : payloadOf(request, failed + 1, retry.delayMs);
  const { own } = session.settings.schemas;
  await session.statements.query(
    `select ${own}.follow($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
    [
      session.node,
      session.token,
      job.id,
      id,
      taskOf(handler, affinity, node),
      next,
      lock,
      retry?.delayMs ?? null,
      everyMs,
      payload.catchUp,
      job.max_attempts,
      job.priority,
      flagsOf(affinity, node, retry?.delayMs ?? everyMs),
      failed + 1,
      outcome.kind === 'retry' || outcome.kind === 'failed' ? outcome.error : null,
      payload.firstDue ?? null,
    ],
  );
}

/*
 * The calendar. graphile-worker's cron adds a job of the task `kcont:cron` at each time, once per cluster; whichever node
 * takes it schedules the continuation.
 *
 *     cron ──▶ tick, a job of its own ──▶ schedule(id) ──▶ run
 *
 * The cron could add the run itself, under the name of the continuation. But it knows nothing of the rules of
 * `schedule`: it would take the name from a run in flight, so that `stop` and `drain` would not find that run.
 *
 * Times that were missed are found when the cron starts, one after the other. Their ticks schedule with a delay, and
 * each moves the deadline that the one before has set: however many were missed, they make one run.
 */

import { parseCronItems, run, type CronItem, type Runner } from 'graphile-worker';
import { KcontError } from '../../base/errors.ts';
import { nothing } from '../../base/nothing.ts';
import type { BackendHost, CronRequest } from '../backend.ts';
import { flagsOf, jobPriority, payloadOf, taskOf } from './payload.ts';
import { QUIET } from './quiet-logger.ts';
import type { Session } from './session.ts';
import type { Job } from './worker.ts';

/**
 * The task of ticks; this name is refused for functions.
 *
 * @internal
 */
export const TICK = 'kcont:cron';
/** What the cron's own worker runs: nothing. */
const NONE = 'kcont:none';
/** The delay of a run that makes up for missed times, in ms. */
const CATCH_UP_DELAY_MS = 2000;
/** A time that is found by less than this after it is not missed: the cron was only starting again, in ms. */
const GRACE_MS = 60_000;

/** The payload of a tick: the arguments of `schedule`. */
interface Tick {
  readonly v: 1;
  readonly id: string;
  readonly task: string;
  readonly payload: string;
  readonly lock: string | null;
  readonly crashLimit: number;
  readonly priority: number;
  readonly flags: readonly string[];
  readonly node: string | null;
  /** Added by the cron. */
  readonly _cron?: { readonly backfilled?: boolean };
}

/**
 * Makes the cron item of a request.
 *
 * @throws KcontError EINVAL for a pattern that cannot be read
 *
 * @internal
 */
export function cronItemOf(request: CronRequest): CronItem {
  const { id, handler, affinity, node, lock, pattern, catchUpMs, crashLimit, priority } = request;
  const tick: Tick = {
    v: 1,
    id,
    task: taskOf(handler, affinity, node),
    payload: payloadOf(request),
    lock,
    crashLimit,
    priority: jobPriority(priority),
    flags: flagsOf(affinity, node, 0),
    node,
  };
  const item: CronItem = {
    task: TICK,
    match: pattern,
    identifier: id,
    options: { backfillPeriod: Math.max(catchUpMs, GRACE_MS) },
    payload: { ...tick },
  };
  try {
    parseCronItems([item]);
  } catch (error) {
    throw new KcontError('EINVAL', `pattern ${pattern} of ${id}: ${(error as Error).message}`);
  }
  return item;
}

/**
 * Runs a tick. A run in flight is left alone, and so is what is parked: it would go on killing processes.
 *
 * @internal
 */
export async function runTick(host: BackendHost, session: Session, job: Job): Promise<void> {
  const tick = job.payload as Partial<Tick> | null;
  if (tick?.v !== 1 || typeof tick.id !== 'string') {
    host.report(new KcontError('EINVAL', `job ${job.id} of ${TICK} has no payload of kcont`));
    return;
  }
  const { own } = session.settings.schemas;
  const { id, task, payload, lock, crashLimit, priority, flags, node } = tick;
  const delayMs = tick._cron?.backfilled === true ? CATCH_UP_DELAY_MS : 0;
  await session.statements.query(
    `select case when s.parked then 'parked'
       else ${own}.schedule($1, $2, $3, $4, $5, $6, $7, $8, $9, false) end as answer
     from ${own}.state($1) s`,
    [id, task, payload, lock, delayMs, crashLimit, priority, flags, node],
  );
}

/**
 * The cron of a session.
 *
 * @internal
 */
export class Cron {
  readonly #session: Session;
  #runner: Promise<Runner | undefined> = Promise.resolve(undefined);
  #items: readonly CronItem[] = [];
  /** The runner that is not being stopped. */
  #current: Runner | undefined = undefined;
  #isQueued = false;
  #end: () => Promise<unknown> = () => Promise.resolve();
  #isStopped = false;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Runs these items instead of the ones before. Calls that come together start it once. */
  start(items: readonly CronItem[]): Promise<unknown> {
    this.#items = items;
    if (this.#isQueued) return this.#runner;
    this.#isQueued = true;
    this.#runner = this.#runner.then(async (previous) => {
      this.#isQueued = false;
      await this.#finish(previous);
      const session = this.#session;
      if (session.isOver || this.#isStopped) return undefined;
      try {
        const pgPool = session.makePool({ max: 3 });
        this.#end = () => pgPool.end();
        const runner = await run({
          pgPool,
          schema: session.settings.schemas.worker,
          noHandleSignals: true,
          logger: QUIET,
          concurrency: 1,
          pollInterval: 60_000,
          taskList: { [NONE]: nothing },
          parsedCronItems: parseCronItems([...this.#items]),
        });
        runner.promise.then(
          () => this.#ended(runner),
          (error: unknown) => session.lost(error),
        );
        this.#current = runner;
        return runner;
      } catch (error) {
        session.lost(error);
        return undefined;
      }
    });
    return this.#runner;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#finish(await this.#runner);
  }

  #ended(runner: Runner): void {
    if (runner === this.#current)
      this.#session.lost(new Error('the cron of graphile-worker has ended'));
  }

  async #finish(runner: Runner | undefined): Promise<void> {
    if (runner === undefined) return;
    this.#current = undefined;
    await runner.stop().catch(nothing);
    if (!this.#session.isOver) await this.#end().catch(nothing);
  }
}

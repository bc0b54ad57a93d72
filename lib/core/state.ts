/*
 * The state of a continuation: bits of one small integer.
 *
 *                 schedule(n)             timer expires
 *        +--------------------> PENDING ----------------+
 *        |                                              v
 *      IDLE --------------- schedule(0) -----------> QUEUED ----- dispatched ----> RUNNING
 *        ^                                          INVOKING      lock granted     INVOKING
 *        |                                                                            |
 *        +--------------------------------- settle -----------------------------------+
 *                                                                                     | ack()
 *      A run that has acknowledged may be scheduled again while it goes on:           v
 *      ACKED+PENDING and ACKED+QUEUED. What is queued then waits for the settle.    ACKED
 *
 * PENDING    its timer runs
 * INVOKING   committed to run: from schedule(0) or expiry until ack() or settle
 * EXPIRED    set at expiry, or at entry after a schedule with no delay; cleared by schedule and stop
 * QUEUED     runnable and not entered: in a run queue, in the queue of its lock, or aside
 * RUNNING    entered and not settled
 *
 * From these follow the facts the proposal keeps apart: `acked` is RUNNING without INVOKING or with
 * QUEUED; "entered since the last schedule" is EXPIRED without QUEUED.
 *
 * Source: NetBSD kernel continuations proposal (2011); callout(9).
 */

export const PENDING = 1;
export const EXPIRED = 2;
export const INVOKING = 4;
export const QUEUED = 8;
export const RUNNING = 16;
/** Destroyed: refuses everything, and reads as idle. */
export const DEAD = 32;
/** A halt waits for the run in flight: scheduling is refused. */
export const HALTING = 64;
/** Does not keep the process alive. */
export const UNREF = 128;
/** Has waited aside since it became runnable, and holds its place in the order. */
export const WAITED = 256;

/** Its errors are handed to whoever awaits it, and to nobody else. */
export const QUIET = 512;
/** Its argument is a Task, which a shutdown tells that it is over. */
export const TASK = 1024;
/**
 * It limits what others do, or is what they wait for: a shutdown leaves its timer running, and lets
 * it be armed, until the last run has settled.
 */
export const LIMIT = 2048;
/** More than one CPU knows it, so its state lives in shared memory; what is here is this CPU's entry. */
export const REMOTE = 4096;
/** It may run on any CPU: which one is chosen each time it is scheduled. */
export const ANY_CPU = 8192;

/** How far the shutdown of a kernel has come. */
export type Phase = typeof OPEN | typeof GRACE | typeof CLOSED;
/** There is none. */
export const OPEN = 0;
/** Nothing more can be scheduled, and what is in flight is served to its end. */
export const GRACE = 1;
/** Nobody is served any more. */
export const CLOSED = 2;

/** Withdrawn by stop: all that a schedule has set. */
export const SCHEDULED: number = PENDING | QUEUED;

/*
 * The arrows of the diagram, each once: what a state becomes, whoever asks and wherever the state lives.
 * Other bits, of these or of a control block, are left as they are.
 */

/** By schedule: PENDING with a delay, else QUEUED. */
export function scheduled(state: number, delayed: boolean): number {
  const rest = state & ~(SCHEDULED | EXPIRED | INVOKING);
  return delayed ? rest | PENDING : rest | QUEUED | INVOKING;
}

/** Its timer is over. */
export function expired(state: number): number {
  return (state & ~PENDING) | QUEUED | INVOKING | EXPIRED;
}

/** Its function is called. */
export function entered(state: number): number {
  return (state & ~(QUEUED | WAITED)) | RUNNING | EXPIRED;
}

/** It may be scheduled again while its function goes on. */
export function acked(state: number): number {
  return state & ~INVOKING;
}

/** Its function has returned, thrown, or its promise has settled. What was queued meanwhile stays so. */
export function settled(state: number): number {
  return state & ~(RUNNING | ((state & QUEUED) === 0 ? INVOKING : 0));
}

/** By stop. INVOKING without QUEUED is that of a run in flight, and stays. */
export function stopped(state: number): number {
  const rest = state & ~(SCHEDULED | EXPIRED | WAITED);
  return (state & QUEUED) === 0 ? rest : rest & ~INVOKING;
}

/** Bits that name no state of the table, for `inspect`. */
export function describeState(state: number): string {
  if ((state & DEAD) !== 0) return (state & RUNNING) !== 0 ? 'DESTROYED, running' : 'DESTROYED';
  const words: string[] = [];
  if ((state & PENDING) !== 0) words.push('PENDING');
  if ((state & INVOKING) !== 0) words.push('INVOKING');
  if ((state & EXPIRED) !== 0 && (state & QUEUED) === 0) words.push('EXPIRED');
  if ((state & RUNNING) !== 0) words.push('running');
  return words.length === 0 ? 'IDLE' : words.join('|');
}

/*
 * The state of a continuation: the bits of one small integer.
 *
 *                 schedule(n)             timer expires
 *        +--------------------> PENDING ----------------+
 *        |                                              v
 *      IDLE --------------- schedule(0) -----------> QUEUED ----- dispatched ----> RUNNING
 *        ^                                          INVOKING      lock granted     INVOKING
 *        |                                                                            |
 *        +--------------------------------- settle -----------------------------------+
 *                                                                                     | ack()
 *      After ack() it can be scheduled again while the run continues: ACKED+PENDING   v
 *      or ACKED+QUEUED. If QUEUED, it then waits until the run has settled.         ACKED
 *
 * PENDING    its timer is running
 * INVOKING   committed to run: from schedule(0) or expiry until ack() or settle
 * EXPIRED    set at expiry, or at entry after a schedule without delay; cleared by schedule and stop
 * QUEUED     runnable and not entered: in a run queue, or waiting outside it for its lock, for a place within
 *            maxActive, for its own earlier run, for the next pass or for another CPU
 * RUNNING    entered and not settled
 *
 * The other states of the proposal follow from these. `acked`: RUNNING is set, and INVOKING is not set or
 * QUEUED is set. "Entered since the last schedule": EXPIRED is set and QUEUED is not.
 *
 * Source: NetBSD kernel continuations proposal (2011); callout(9).
 */

export const PENDING = 1;
export const EXPIRED = 2;
export const INVOKING = 4;
export const QUEUED = 8;
export const RUNNING = 16;
/** It was destroyed: it cannot be scheduled, and its flags read as those of an idle one. */
export const DEAD = 32;
/** A halt is waiting for the run in flight: `schedule` is refused. */
export const HALTING = 64;
/** It does not keep the process alive. */
export const UNREF = 128;
/**
 * Since it became runnable it has been set aside at least once. It got a new sequence number then, which is
 * its place among all that were set aside.
 */
export const WAITED = 256;

/** Its errors are passed only to the code that awaits it. */
export const QUIET = 512;
/** Its argument is a Task, which a shutdown tells that there will be no result. */
export const TASK = 1024;
/**
 * It sets a time limit for other runs, or other runs may be waiting for it: a shutdown leaves its timer
 * running, and allows it to be armed, until the last run has settled or the grace is over.
 */
export const LIMIT = 2048;
/**
 * Its state is a word in shared memory. Three local bits then say only whether this CPU has it in its wheel
 * (PENDING), has it queued or set aside (QUEUED), or runs it (RUNNING).
 */
export const REMOTE = 4096;
/** It may run on any CPU, which is chosen each time it is scheduled. */
export const ANY_CPU = 8192;
/** The run in flight has been asked to stop. Cleared when it settles; on shared continuations not used. */
export const STOPPING = 16_384;
/** Its argument has its name: `_name`. So a continuation of the library needs no object for it. */
export const NAMED = 32_768;
/** It keeps the place of another one that has inherited a priority: see inheritance.ts. It is never entered. */
export const PLACEHOLDER = 65_536;
/** It has inherited a priority while its timer runs, and is moved when that expires: see inheritance.ts. */
export const MOVES = 131_072;

/** The shutdown phase of a kernel. */
export type Phase = typeof OPEN | typeof GRACE | typeof CLOSED;
/** The kernel is not shutting down. */
export const OPEN = 0;
/** Only LIMIT timers can be scheduled; what is queued and running is served until the grace is over. */
export const GRACE = 1;
/** Nothing is served any more. */
export const CLOSED = 2;

/** A continuation with one of these bits is scheduled: its timer is running, or it is runnable. */
export const SCHEDULED: number = PENDING | QUEUED;

/*
 * The transitions of the diagram, as pure functions on the state, for local handles and for control
 * blocks in shared memory. They leave all other bits unchanged.
 */

// Copies of the masks as constants that are not exported: V8 inlines those, but loads and checks an exported
// constant at each use.
const NOT_SCHEDULED = ~(SCHEDULED | EXPIRED | INVOKING);
const DELAYED = PENDING;
const RUNNABLE = QUEUED | INVOKING;
const NOT_QUEUED = ~(QUEUED | WAITED);
const IN_FUNCTION = RUNNING | EXPIRED;
const AGAIN = QUEUED;
const NOT_RUNNING = ~RUNNING;
const NOT_INVOKING = ~(RUNNING | INVOKING);

/** After `schedule`: PENDING with a delay, otherwise QUEUED. */
export function scheduled(state: number, delayed: boolean): number {
  return (state & NOT_SCHEDULED) | (delayed ? DELAYED : RUNNABLE);
}

/** After its timer has expired. */
export function expired(state: number): number {
  return (state & ~PENDING) | QUEUED | INVOKING | EXPIRED;
}

/** When its function is called. */
export function entered(state: number): number {
  return (state & NOT_QUEUED) | IN_FUNCTION;
}

/** After `ack`: it can be scheduled again while its function continues. */
export function acked(state: number): number {
  return state & ~INVOKING;
}

/** After its function has returned or thrown, or its promise has settled. QUEUED stays set. */
export function settled(state: number): number {
  return state & ((state & AGAIN) === 0 ? NOT_INVOKING : NOT_RUNNING);
}

/** After `stop`. INVOKING without QUEUED belongs to a run in flight, and stays set. */
export function stopped(state: number): number {
  const rest = state & ~(SCHEDULED | EXPIRED | WAITED);
  return (state & QUEUED) === 0 ? rest : rest & ~INVOKING;
}

/** Describes a state for `inspect`. */
export function describeState(state: number): string {
  if ((state & DEAD) !== 0) return (state & RUNNING) !== 0 ? 'DESTROYED, running' : 'DESTROYED';
  const words: string[] = [];
  if ((state & PENDING) !== 0) words.push('PENDING');
  if ((state & INVOKING) !== 0) words.push('INVOKING');
  if ((state & EXPIRED) !== 0 && (state & QUEUED) === 0) words.push('EXPIRED');
  if ((state & RUNNING) !== 0) words.push('running');
  return words.length === 0 ? 'IDLE' : words.join('|');
}

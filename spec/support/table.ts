// The state table of the specification: what every event does to a handle in every state. It shares no code
// with the library. EXPIRED is kept separate from the state, as in the specification.
/* oxlint-disable typescript/consistent-return -- tsc checks that every case returns */

/** The states of a handle that is not destroyed. */
export const STATES = [
  'IDLE',
  'PENDING',
  'QUEUED',
  'RUNNING',
  'ACKED',
  'ACKED+PENDING',
  'ACKED+QUEUED',
] as const;

export type State = (typeof STATES)[number];

/** The synchronous calls on a handle, possible anywhere. `n` stands for any delay above 0. */
export const CALLS = [
  'schedule(0)',
  'schedule(n)',
  'reset(0)',
  'reset(n)',
  'touch',
  'ack',
  'stop',
  'cancel',
  'drainAsync',
] as const;

export type Call = (typeof CALLS)[number];

/** Events other than calls. */
export const HAPPENINGS = ['expire', 'dispatch', 'settle'] as const;

export type Happening = (typeof HAPPENINGS)[number];

/** What a call returns; `expired` stands for the value of the predicate before the call. */
export type Answer = boolean | number | 'expired';

/** A cell: the next state, and the result of the call. */
export type Cell = readonly [next: State, answer: Answer];

type Row = { readonly [S in State]: Cell };

/** The calls. A busy cell is the one with `false` in the rows of schedule. */
export const TABLE: { readonly [C in Call]: Row } = {
  'schedule(0)': {
    IDLE: ['QUEUED', true],
    PENDING: ['QUEUED', true],
    QUEUED: ['QUEUED', false],
    RUNNING: ['RUNNING', false],
    ACKED: ['ACKED+QUEUED', true],
    'ACKED+PENDING': ['ACKED+QUEUED', true],
    'ACKED+QUEUED': ['ACKED+QUEUED', false],
  },
  'schedule(n)': {
    IDLE: ['PENDING', true],
    PENDING: ['PENDING', true],
    QUEUED: ['QUEUED', false],
    RUNNING: ['RUNNING', false],
    ACKED: ['ACKED+PENDING', true],
    'ACKED+PENDING': ['ACKED+PENDING', true],
    'ACKED+QUEUED': ['ACKED+QUEUED', false],
  },
  'reset(0)': {
    IDLE: ['QUEUED', true],
    PENDING: ['QUEUED', true],
    QUEUED: ['QUEUED', true],
    RUNNING: ['ACKED+QUEUED', true],
    ACKED: ['ACKED+QUEUED', true],
    'ACKED+PENDING': ['ACKED+QUEUED', true],
    'ACKED+QUEUED': ['ACKED+QUEUED', true],
  },
  'reset(n)': {
    IDLE: ['PENDING', true],
    PENDING: ['PENDING', true],
    QUEUED: ['PENDING', true],
    RUNNING: ['ACKED+PENDING', true],
    ACKED: ['ACKED+PENDING', true],
    'ACKED+PENDING': ['ACKED+PENDING', true],
    'ACKED+QUEUED': ['ACKED+PENDING', true],
  },
  touch: {
    IDLE: ['IDLE', false],
    PENDING: ['PENDING', true],
    QUEUED: ['QUEUED', false],
    RUNNING: ['RUNNING', false],
    ACKED: ['ACKED', false],
    'ACKED+PENDING': ['ACKED+PENDING', true],
    'ACKED+QUEUED': ['ACKED+QUEUED', false],
  },
  ack: {
    IDLE: ['IDLE', false],
    PENDING: ['PENDING', false],
    QUEUED: ['QUEUED', false],
    RUNNING: ['ACKED', true],
    ACKED: ['ACKED', false],
    'ACKED+PENDING': ['ACKED+PENDING', false],
    'ACKED+QUEUED': ['ACKED+QUEUED', false],
  },
  stop: {
    IDLE: ['IDLE', 'expired'],
    PENDING: ['IDLE', false],
    QUEUED: ['IDLE', false],
    RUNNING: ['RUNNING', true],
    ACKED: ['ACKED', true],
    'ACKED+PENDING': ['ACKED', true],
    'ACKED+QUEUED': ['ACKED', true],
  },
  // cancel() is stop() with another result: 1 a run was withdrawn, 2 a run is in flight.
  cancel: {
    IDLE: ['IDLE', 0],
    PENDING: ['IDLE', 1],
    QUEUED: ['IDLE', 1],
    RUNNING: ['RUNNING', 2],
    ACKED: ['ACKED', 2],
    'ACKED+PENDING': ['ACKED', 3],
    'ACKED+QUEUED': ['ACKED', 3],
  },
  // drainAsync() is stop() too: true, it is idle; false, the callback is called after the settle.
  drainAsync: {
    IDLE: ['IDLE', true],
    PENDING: ['IDLE', true],
    QUEUED: ['IDLE', true],
    RUNNING: ['RUNNING', false],
    ACKED: ['ACKED', false],
    'ACKED+PENDING': ['ACKED', false],
    'ACKED+QUEUED': ['ACKED', false],
  },
};

/** The events other than calls, in the states where they are possible. */
export const HAPPENS: { readonly [H in Happening]: { readonly [S in State]?: State } } = {
  expire: { PENDING: 'QUEUED', 'ACKED+PENDING': 'ACKED+QUEUED' },
  dispatch: { QUEUED: 'RUNNING' },
  settle: {
    RUNNING: 'IDLE',
    ACKED: 'IDLE',
    'ACKED+PENDING': 'PENDING',
    'ACKED+QUEUED': 'QUEUED',
  },
};

/** Calls after which `expired` is false if they succeed. */
export function clearsExpired(call: Call, answer: Answer): boolean {
  switch (call) {
    case 'schedule(0)':
    case 'schedule(n)':
    case 'reset(0)':
    case 'reset(n)':
      return answer === true;
    case 'stop':
    case 'cancel':
    case 'drainAsync':
      return true;
    case 'touch':
    case 'ack':
      return false;
  }
}

const PENDING: ReadonlySet<State> = new Set(['PENDING', 'ACKED+PENDING']);
const INVOKING: ReadonlySet<State> = new Set(['QUEUED', 'RUNNING', 'ACKED+QUEUED']);
const IN_FLIGHT: ReadonlySet<State> = new Set([
  'RUNNING',
  'ACKED',
  'ACKED+PENDING',
  'ACKED+QUEUED',
]);

/** Whether a timer is running in this state. */
export function isPending(state: State): boolean {
  return PENDING.has(state);
}

/** Whether it is committed to run, and has not called `ack`. */
export function isInvoking(state: State): boolean {
  return INVOKING.has(state);
}

/** Whether a run is in flight. */
export function isRunning(state: State): boolean {
  return IN_FLIGHT.has(state);
}

/** The predicates of a handle that is not destroyed, as formatted by `bitsOf`. */
export function bits(state: State, expired: boolean): string {
  const pending = isPending(state);
  const invoking = isInvoking(state);
  const running = isRunning(state);
  return (
    (pending ? 'p' : '-') +
    (expired ? 'e' : '-') +
    (invoking ? 'i' : '-') +
    (pending || invoking || expired ? 'a' : '-') +
    (pending || invoking || running ? 'b' : '-') +
    (running ? 'r' : '-')
  );
}

/** The predicates of a destroyed handle: only a run in flight still shows. */
export function deadBits(running: boolean): string {
  return running ? '----br' : '------';
}

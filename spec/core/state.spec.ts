// The transitions of the state diagram, as functions of the state.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import {
  EXPIRED,
  HALTING,
  INVOKING,
  LIMIT,
  PENDING,
  QUEUED,
  RUNNING,
  UNREF,
  WAITED,
  acked,
  entered,
  expired,
  scheduled,
  settled,
  stopped,
} from '../../lib/core/state.ts';

/** The states of the diagram, by their names there. */
const STATES: Readonly<Record<string, number>> = {
  IDLE: 0,
  PENDING,
  QUEUED: QUEUED | INVOKING,
  'QUEUED, expired': QUEUED | INVOKING | EXPIRED,
  RUNNING: RUNNING | INVOKING | EXPIRED,
  ACKED: RUNNING | EXPIRED,
  'ACKED+PENDING': RUNNING | PENDING,
  'ACKED+QUEUED': RUNNING | QUEUED | INVOKING,
  'ACKED+QUEUED, expired': RUNNING | QUEUED | INVOKING | EXPIRED,
  'IDLE, expired': EXPIRED,
};

const nameOf = (state: number): string =>
  Object.keys(STATES).find((name) => STATES[name] === state) ?? `none: ${state}`;

const ARROWS = {
  'schedule(n)': (state: number) => scheduled(state, true),
  'schedule(0)': (state: number) => scheduled(state, false),
  expire: expired,
  enter: entered,
  ack: acked,
  settle: settled,
  stop: stopped,
} as const;

/** The states from which each transition is possible, and those to which it leads. */
const TABLE: readonly (readonly [keyof typeof ARROWS, string, string])[] = [
  ['schedule(n)', 'IDLE', 'PENDING'],
  ['schedule(n)', 'IDLE, expired', 'PENDING'],
  ['schedule(n)', 'PENDING', 'PENDING'],
  ['schedule(n)', 'ACKED', 'ACKED+PENDING'],
  ['schedule(n)', 'ACKED+PENDING', 'ACKED+PENDING'],
  ['schedule(0)', 'IDLE', 'QUEUED'],
  ['schedule(0)', 'IDLE, expired', 'QUEUED'],
  ['schedule(0)', 'PENDING', 'QUEUED'],
  ['schedule(0)', 'ACKED', 'ACKED+QUEUED'],
  ['schedule(0)', 'ACKED+PENDING', 'ACKED+QUEUED'],
  ['expire', 'PENDING', 'QUEUED, expired'],
  ['expire', 'ACKED+PENDING', 'ACKED+QUEUED, expired'],
  ['enter', 'QUEUED', 'RUNNING'],
  ['enter', 'QUEUED, expired', 'RUNNING'],
  ['ack', 'RUNNING', 'ACKED'],
  ['settle', 'RUNNING', 'IDLE, expired'],
  ['settle', 'ACKED', 'IDLE, expired'],
  ['settle', 'ACKED+PENDING', 'PENDING'],
  ['settle', 'ACKED+QUEUED', 'QUEUED'],
  ['settle', 'ACKED+QUEUED, expired', 'QUEUED, expired'],
  ['stop', 'IDLE', 'IDLE'],
  ['stop', 'IDLE, expired', 'IDLE'],
  ['stop', 'PENDING', 'IDLE'],
  ['stop', 'QUEUED', 'IDLE'],
  ['stop', 'QUEUED, expired', 'IDLE'],
];

/** Bits that no transition changes; WAITED belongs to QUEUED. */
const OTHERS = UNREF | HALTING | LIMIT | (1 << 20);

describe('the transitions of the state diagram', () => {
  for (const [arrow, from, to] of TABLE) {
    it(`${arrow} leads from ${from} to ${to}, whatever the other bits are`, () => {
      const take = ARROWS[arrow];
      const state = STATES[from] as number;
      expect(nameOf(take(state))).to.equal(to);
      expect(take(state | OTHERS)).to.equal(take(state) | OTHERS);
    });
  }

  it('stop leaves a run in flight, and withdraws what was scheduled during it', () => {
    expect(stopped(RUNNING | INVOKING | EXPIRED)).to.equal(RUNNING | INVOKING);
    expect(stopped(RUNNING | EXPIRED)).to.equal(RUNNING);
    expect(stopped(RUNNING | PENDING)).to.equal(RUNNING);
    expect(stopped(RUNNING | QUEUED | INVOKING | EXPIRED)).to.equal(RUNNING);
  });

  it('enter and stop clear WAITED', () => {
    expect(entered(QUEUED | INVOKING | WAITED)).to.equal(RUNNING | INVOKING | EXPIRED);
    expect(stopped(QUEUED | INVOKING | WAITED)).to.equal(0);
  });
});

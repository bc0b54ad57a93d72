/*
 * What is said on a connection is one thing (session.ts), when it is said is another. This is the
 * seam between them; timers-kcont.ts and timers-timeout.ts stand on its other side. Everything else in
 * this folder is shared by both, so what the report compares is timing and nothing but timing.
 */
import type { History } from './history.ts';
import type { Session } from './session.ts';

/** The periods of a gateway. */
export interface Timing {
  /** From the connection to HELLO. */
  readonly handshakeMs: number;
  /** Without any packet, the device counts as gone. */
  readonly idleMs: number;
  /** Between two PINGs of the gateway. */
  readonly heartbeatMs: number;
  /** From a PING of the gateway to the PONG. Less than `heartbeatMs`. */
  readonly pongMs: number;
  /** A reading is acknowledged at most this late, so that one ACK serves several. */
  readonly ackMs: number;
  /** With so many readings not acknowledged, ACK is sent at once. */
  readonly ackBatch: number;
  /** A command without ACK is sent again after this, then after twice this, and so on. */
  readonly resendMs: number;
  /** How often a command is sent before the gateway gives it up. */
  readonly sendLimit: number;
  /** From the decision to part to the end of the connection, if need be by force. */
  readonly closeMs: number;
  /** Readings gather this long before they are written to the file. */
  readonly historyMs: number;
}

/** For the demonstration: short, so that many deadlines pass in a few seconds. */
export const DEMO_TIMING: Timing = {
  handshakeMs: 1000,
  idleMs: 800,
  heartbeatMs: 1000,
  pongMs: 600,
  ackMs: 450,
  ackBatch: 16,
  resendMs: 100,
  sendLimit: 6,
  closeMs: 1200,
  historyMs: 20,
};

/** For a person who types the device's part. */
export const SERVE_TIMING: Timing = {
  handshakeMs: 60_000,
  idleMs: 120_000,
  heartbeatMs: 45_000,
  pongMs: 40_000,
  ackMs: 300,
  ackBatch: 16,
  resendMs: 3000,
  sendLimit: 5,
  closeMs: 3000,
  historyMs: 200,
};

/** When things happen on one connection: the session tells what came about, the timers act in time. */
export interface ConnectionTimers {
  /** Accepted: HELLO has to come before long. */
  connected(): void;
  /** HELLO came: from now on the device is watched. */
  opened(): void;
  /** A packet came. Called for every single one. */
  onPacket(): void;
  /** The answer to the heartbeat came. */
  ponged(): void;
  /** A reading came; `unacked` of them wait for ACK. */
  dataCame(unacked: number): void;
  /** There is a command to send now: the first of the queue is a new one. */
  commandReady(): void;
  /** No command waits any more. */
  commandsDone(): void;
  /** Time to part: `session.goodbye()`, and `session.destroy()` if that takes too long. */
  leaving(): void;
  /** The connection is gone: nothing may run for it any more. */
  closed(): void;
}

/** What was still waiting or running when the gateway had closed; by name. */
export interface Leftovers {
  /** Armed or queued, and now withdrawn. */
  readonly waiting: readonly string[];
  /** Begun and not ended within the grace period. */
  readonly unfinished: readonly string[];
}

/** All the timing a gateway needs. */
export interface TimersFactory {
  /** Keeps the time of one connection. */
  create(session: Session): ConnectionTimers;
  /** Returns the function to call when the history has something to write; `now`: at once. */
  historian(history: History): (now: boolean) => void;
  /** Runs a function once, later, the way this timersFactory runs things. */
  once(delayMs: number, func: () => void): void;
  /** Ends all; what is left over is a defect of the gateway. */
  close(graceMs: number): Promise<Leftovers>;
}

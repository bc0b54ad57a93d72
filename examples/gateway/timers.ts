/*
 * The interface between the protocol on a connection (session.ts) and its timing. timers-kcont.ts and
 * timers-timeout.ts implement it. Everything else in this folder is shared by both, so the report
 * compares only the timing.
 */
import type { History } from './history.ts';
import type { Session } from './session.ts';

/** The periods of a gateway, in ms, and its limits. */
export interface Timing {
  /** Time from the connection to HELLO. */
  readonly handshakeMs: number;
  /** Time without any packet after which the device counts as gone. */
  readonly idleMs: number;
  /** Interval of the gateway's PINGs. */
  readonly heartbeatMs: number;
  /** Time from a PING of the gateway to the PONG. Less than `heartbeatMs`. */
  readonly pongMs: number;
  /** Longest delay of an ACK, so that one ACK serves several readings. */
  readonly ackMs: number;
  /** Number of unacknowledged readings at which ACK is sent at once. */
  readonly ackBatch: number;
  /** Time after which a command without ACK is sent again. It doubles with each attempt. */
  readonly resendMs: number;
  /** Number of times a command is sent before the gateway gives up. */
  readonly sendLimit: number;
  /** Time from the decision to close to the end of the connection, by force if necessary. */
  readonly closeMs: number;
  /** Time for which readings are collected before they are written to the file. */
  readonly historyMs: number;
}

/** The periods of the demonstration: short, so that many deadlines pass in a few seconds. */
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

/** The periods for a person who types the device's packets. */
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

/** The timers of one connection. The session calls these methods when something has happened. */
export interface ConnectionTimers {
  /** The connection was accepted; HELLO has to arrive in time. */
  connected(): void;
  /** HELLO has arrived; from now on the device is monitored. */
  opened(): void;
  /** A packet has arrived. Called for every packet. */
  onPacket(): void;
  /** The answer to the heartbeat has arrived. */
  ponged(): void;
  /** A reading has arrived; `unacked` readings wait for an ACK. */
  dataCame(unacked: number): void;
  /** There is a new command at the head of the queue, to send now. */
  commandReady(): void;
  /** No command is waiting any more. */
  commandsDone(): void;
  /** The connection is closing: call `session.goodbye()`, and `session.destroy()` if that takes too long. */
  leaving(): void;
  /** The connection is closed; no timer of it may run any more. */
  closed(): void;
}

/** The names of timers and functions that were left when the gateway had closed. */
export interface Leftovers {
  /** Those that were armed or queued, and are now withdrawn. */
  readonly waiting: readonly string[];
  /** Those that had begun and did not end within the grace period. */
  readonly unfinished: readonly string[];
}

/** Creates the timers of a gateway. */
export interface TimersFactory {
  /** Creates the timers of one connection. */
  create(session: Session): ConnectionTimers;
  /** Returns the function to call when the history has something to write; `now`: at once. */
  historian(history: History): (now: boolean) => void;
  /** Runs a function once after a delay. */
  once(delayMs: number, func: () => void): void;
  /** Ends all timers. Anything left over is a defect of the gateway. */
  close(graceMs: number): Promise<Leftovers>;
}

/* The messages between the processes of the demonstration. All times are those of sharedNow(). */
import type { CloseReport } from '../gateway.ts';
import type { Timing } from '../timers.ts';

/** The two implementations of the gateway's timing. */
export type Variant = 'kcont' | 'setTimeout';

/** Where the server's event loop is blocked. In the kcont gateway, the timer is a continuation. */
export type StallKind = 'the check phase' | 'an I/O callback' | 'a timer';

/** A time span in which the loop was blocked. */
export interface Stall {
  readonly kind: StallKind;
  readonly from: number;
  readonly to: number;
  /** The share of a core that the server got while it used all it could. */
  readonly cpuShare: number;
}

/** Messages from the demonstration to the server. */
export type ToServer =
  | { readonly type: 'weigh' }
  | { readonly type: 'stall'; readonly kind: StallKind; readonly ms: number }
  | { readonly type: 'count' }
  | Measurement;

/** Questions to both processes, to determine what the machine can carry. */
export type Measurement =
  /** Asks for the share of a core that it gets when it uses all it can. */
  | { readonly type: 'burn'; readonly ms: number }
  /** Asks for the CPU time that it has used so far. */
  | { readonly type: 'cpu' };

/** The answers. */
export type Measured =
  | { readonly type: 'burnt'; readonly cpuShare: number }
  | { readonly type: 'cpuUsed'; readonly seconds: number };

/** Messages from the server to the demonstration. */
export type FromServer =
  | Measured
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'weighed'; readonly connections: number; readonly bytesEach: number }
  | { readonly type: 'stalled'; readonly stall: Stall }
  | { readonly type: 'counted'; readonly sessions: number }
  | {
      readonly type: 'closed';
      readonly report: CloseReport;
      /** Number of host timers and immediates that were still alive. */
      readonly hostTimers: number;
      /** CPU time without that of the deliberate stalls. */
      readonly cpuSeconds: number;
    };

/** Messages from the demonstration to the load. */
export type ToLoad =
  | {
      readonly type: 'go';
      readonly port: number;
      readonly devices: number;
      readonly forMs: number;
      readonly timing: Timing;
    }
  | Measurement
  | { readonly type: 'end' };

/** A device that stopped working, on purpose. */
export interface Death {
  readonly how: 'silent' | 'half-dead' | 'mute';
  readonly at: number;
  /** The time by which the gateway has to have noticed, by its own periods. */
  readonly allowedMs: number;
  /** When the gateway closed the device's connection; null if it never did. */
  readonly foundAt: number | null;
}

/** Messages from the load to the demonstration. */
export type FromLoad =
  | Measured
  | { readonly type: 'connected'; readonly afterMs: number }
  | {
      readonly type: 'progress';
      readonly open: number;
      readonly packets: number;
      readonly killed: number;
      readonly dead: number;
      readonly found: number;
    }
  | { readonly type: 'result'; readonly result: LoadResult };

/** What the devices have measured. */
export interface LoadResult {
  readonly packets: number;
  /** Number of live devices whose connection the gateway closed. */
  readonly killed: number;
  /** The same, by the reason that the gateway gave. */
  readonly killedFor: ReadonlyMap<string, number>;
  /** Number of connections closed while the load itself was late, which are therefore not judged. */
  readonly notJudged: number;
  readonly deaths: readonly Death[];
  readonly vanished: number;
  readonly byesSaid: number;
  readonly byesAnswered: number;
  /** Pairs of the time of a PING and the time until its PONG. */
  readonly pings: Float64Array;
  readonly readingsAcked: number;
  readonly commandCopies: number;
  readonly worstLagMs: number;
}

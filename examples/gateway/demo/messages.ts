/* What the processes of the demonstration tell each other. All times are of sharedNow(). */
import type { CloseReport } from '../gateway.ts';
import type { Timing } from '../timers.ts';

/** The gateway's two ways to keep time. */
export type Variant = 'kcont' | 'setTimeout';

/** Where the server's loop is held up; the timer is a continuation if the gateway is kcont's. */
export type StallKind = 'the check phase' | 'an I/O callback' | 'a timer';

/** The loop was held up from one time to another. */
export interface Stall {
  readonly kind: StallKind;
  readonly from: number;
  readonly to: number;
  /** How much of a core the server got meanwhile, when it wanted all of it. */
  readonly cpuShare: number;
}

/** From the demonstration to the server. */
export type ToServer =
  | { readonly type: 'weigh' }
  | { readonly type: 'stall'; readonly kind: StallKind; readonly ms: number }
  | { readonly type: 'count' }
  | Measurement;

/** Asked of both processes, to find out what the machine can carry. */
export type Measurement =
  /** How much of a core does it get, when it wants all of it? */
  | { readonly type: 'burn'; readonly ms: number }
  /** How much CPU time has it used so far? */
  | { readonly type: 'cpu' };

/** The answers. */
export type Measured =
  | { readonly type: 'burnt'; readonly cpuShare: number }
  | { readonly type: 'cpuUsed'; readonly seconds: number };

/** From the server to the demonstration. */
export type FromServer =
  | Measured
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'weighed'; readonly connections: number; readonly bytesEach: number }
  | { readonly type: 'stalled'; readonly stall: Stall }
  | { readonly type: 'counted'; readonly sessions: number }
  | {
      readonly type: 'closed';
      readonly report: CloseReport;
      /** Timers and immediates of the host that were still alive. */
      readonly hostTimers: number;
      /** Without what the stalls on purpose burnt. */
      readonly cpuSeconds: number;
    };

/** From the demonstration to the load. */
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

/** A device that stopped being one, by intention. */
export interface Death {
  readonly how: 'silent' | 'half-dead' | 'mute';
  readonly at: number;
  /** The gateway has to have noticed after this, by its own periods. */
  readonly allowedMs: number;
  /** When the device saw itself cut off; null: never. */
  readonly foundAt: number | null;
}

/** From the load to the demonstration. */
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

/** What the devices went through. */
export interface LoadResult {
  readonly packets: number;
  /** Live devices that the gateway cut off. */
  readonly killed: number;
  /** The same, by the reason it gave. */
  readonly killedFor: ReadonlyMap<string, number>;
  /** Devices cut off while the load itself was late, so that nobody can tell whether they lived. */
  readonly notJudged: number;
  readonly deaths: readonly Death[];
  readonly vanished: number;
  readonly byesSaid: number;
  readonly byesAnswered: number;
  /** Pairs of the time of a PING and how long its PONG took. */
  readonly pings: Float64Array;
  readonly readingsAcked: number;
  readonly commandCopies: number;
  readonly worstLagMs: number;
}

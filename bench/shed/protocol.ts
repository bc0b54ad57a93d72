// What the processes of the shed bench say to each other.

/** How the server orders its work: kcont with and without `shed`, or p-queue. */
export type Kind = 'shed' | 'kcont' | 'p-queue';

export interface ServerReply {
  readonly port: number;
}

/** Which requests the client sends. */
export interface Order {
  readonly port: number;
  /** Requests a second, at times that do not depend on the answers; 0: four at a time, one after the other. */
  readonly perSecond: number;
  /** The share of them that is urgent. */
  readonly urgent: number;
  readonly forMs: number;
}

export interface ClientReply {
  /** Answers that came in time. */
  readonly inTime: number;
  /** Of urgent requests. */
  readonly urgentP99Ms: number;
  readonly tookMs: number;
}

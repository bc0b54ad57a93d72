// What the processes of the overload bench say to each other.

/** How a handler goes from one step of its work to the next. */
export type Kind = 'kcont' | 'promises' | 'immediate';

export type ServerReply =
  | { readonly port: number }
  /** The longest time between two accepts since the last mark, in ms, and how many there were. */
  | { readonly gapMs: number; readonly accepts: number };

export interface ClientReply {
  readonly answers: number;
  readonly p99Ms: number;
  readonly tookMs: number;
}

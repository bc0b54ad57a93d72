// What the processes of the echo bench say to each other.

/** Every message of a client has this many bytes; the first one says what it is. */
export const MESSAGE_BYTES = 32;
/** Comes back as it is, at once. That acknowledges all that came before it, too. */
export const ECHO = 0x45;
/** Is only acknowledged, by one byte, when nothing has been sent for {@link ACK_MS}. */
export const ONE_WAY = 0x4f;
export const ACK = 0x41;
export const PING = 0x50;

/** One message in so many is one way. */
export const ONE_WAY_EVERY = 4;

export const IDLE_MS = 60_000;
export const HEARTBEAT_MS = 25_000;
export const ACK_MS = 40;

/** How connections keep their three timers. */
export type Kind = 'kcont' | 'refresh' | 'clear-set' | 'none';

/** To the server. */
export type ServerRequest = 'heap' | 'mark';

/** From the server. */
export type ServerReply =
  | { readonly port: number }
  | { readonly heapUsed: number; readonly connections: number }
  | { readonly cpuUs: number; readonly counts: Counts };

/** What a server has done so far. */
export interface Counts {
  messages: number;
  echoes: number;
  acks: number;
  /** Connections that were silent for too long: there must be none. */
  idle: number;
  heartbeats: number;
}

/** To the client. */
export type ClientRequest = 'start' | 'mark' | 'stop';

/** From the client. */
export type ClientReply =
  | { readonly connected: number }
  | {
      readonly sent: number;
      readonly sentForEcho: number;
      readonly echoed: number;
      readonly acked: number;
      /** From sending to the echo, since `mark`. */
      readonly p99Us: number;
    };

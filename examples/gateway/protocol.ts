/*
 * The line protocol between a device and the gateway.
 *
 *   device                 gateway
 *                      ←   READY               on connection
 *   HELLO <id>         →                       must come first, and soon
 *                      ←   WELCOME <id>
 *   DATA <seq> <text>  →                       a reading, seq counts upward
 *                      ←   ACK <seq>           everything up to seq arrived; delayed on purpose
 *   PING [token]       →
 *                      ←   PONG [token]
 *                      ←   PING <n>            heartbeat
 *   PONG <n>           →
 *                      ←   CMD <n> <text>      sent again until acknowledged
 *   ACK <n>            →
 *   BYE                →
 *                      ←   BYE <reason>        then the connection ends
 *                      ←   ERR <reason>        the line was not understood; nothing else happens
 *
 * A line ends with LF or CR LF and has at most MAX_LINE bytes. Text is treated as bytes (latin1), so
 * that decoding cannot fail.
 */

/** Longest line in bytes, without its end. */
export const MAX_LINE = 256;

/** One line from a device, valid or malformed. */
export type Packet =
  | { readonly kind: 'HELLO'; readonly id: string }
  | { readonly kind: 'DATA'; readonly seq: number; readonly text: string }
  | { readonly kind: 'PING'; readonly token: string }
  | { readonly kind: 'PONG'; readonly number: number }
  | { readonly kind: 'ACK'; readonly number: number }
  | { readonly kind: 'BYE' }
  | { readonly kind: 'malformed'; readonly reason: string };

/** Parses one line. Never throws. */
export function parse(line: string): Packet {
  if (!/^[\x20-\x7e\xa0-\xff]*$/.test(line)) return malformed('unprintable bytes');
  const space = line.indexOf(' ');
  const verb = space < 0 ? line : line.slice(0, space);
  const rest = space < 0 ? '' : line.slice(space + 1);
  switch (verb) {
    case 'HELLO':
      return /^[\w.-]{1,32}$/.test(rest)
        ? { kind: 'HELLO', id: rest }
        : malformed('expected HELLO <id>, an id of 1 to 32 letters, digits, dots and dashes');
    case 'DATA': {
      const end = rest.indexOf(' ');
      const seq = wholeNumber(end < 0 ? rest : rest.slice(0, end));
      return seq < 0 || end < 0
        ? malformed('expected DATA <seq> <text>')
        : { kind: 'DATA', seq, text: rest.slice(end + 1) };
    }
    case 'PING':
      return { kind: 'PING', token: rest };
    case 'PONG':
    case 'ACK': {
      const number = wholeNumber(rest);
      return number < 0 ? malformed(`expected ${verb} <n>`) : { kind: verb, number };
    }
    case 'BYE':
      return { kind: 'BYE' };
    default:
      return malformed('expected HELLO, DATA, PING, PONG, ACK or BYE');
  }
}

/** Splits a byte stream into lines. A line that is too long is dropped and reported once. */
export class LineReader {
  readonly #onLine: (line: string) => void;
  readonly #onTooLong: () => void;
  #rest = '';
  #skipping = false;

  constructor(onLine: (line: string) => void, onTooLong: () => void) {
    this.#onLine = onLine;
    this.#onTooLong = onTooLong;
  }

  /** Processes the next chunk of the stream, and calls back for each complete line. */
  push(piece: string): void {
    let from = 0;
    for (let end = piece.indexOf('\n'); end >= 0; end = piece.indexOf('\n', from)) {
      const line = this.#rest + piece.slice(from, end);
      this.#rest = '';
      from = end + 1;
      if (this.#skipping) this.#skipping = false;
      else if (line.length > MAX_LINE + 1) this.#onTooLong();
      else this.#onLine(line.endsWith('\r') ? line.slice(0, -1) : line);
    }
    if (this.#skipping) return;
    this.#rest += piece.slice(from);
    // A peer that never ends its line must not be able to fill the memory.
    if (this.#rest.length > MAX_LINE + 1) {
      this.#rest = '';
      this.#skipping = true;
      this.#onTooLong();
    }
  }
}

function wholeNumber(text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : -1;
}

function malformed(reason: string): Packet {
  return { kind: 'malformed', reason };
}

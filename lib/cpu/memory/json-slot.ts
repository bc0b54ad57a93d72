/*
 * Small plain values between CPUs, as text in shared memory: no message has to carry them.
 *
 *   block --> its text: 1 KiB, made when the block first needs one, and kept with it
 *               the argument    written before the job is scheduled; read before it is entered
 *               the result      written in its place, while the run lasts; read before the job ends
 *
 * A message wakes its CPU while it is being posted, before the message that names it can be there: most
 * values that are posted wake twice. Without them a round trip takes a third less of CPU time.
 *
 * Text is JSON, where JSON says it exactly: strings, booleans, null, finite numbers but -0; arrays
 * without holes and plain objects of these, each of them in one place only. Everything else goes by
 * port, as structuredClone does it, and so does what is longer than the text may be, or has no text
 * yet when the memory is a quarter full.
 *
 * Who is late may read a text that is being written for somebody else. That does not matter: the entry
 * it is read for has another generation by then, and cannot be entered.
 */

import { types } from 'node:util';
import { JSON_SLOT } from './control-block.ts';
import { UNIT, type Memory } from './shared-memory.ts';

const JSON_SLOT_UNITS = 16;
const MOST_BYTES = JSON_SLOT_UNITS * UNIT * 4;
/** So many objects and arrays in a value, and it is not looked through for longer. */
const MOST_OBJECTS = 16;
/** Code points beyond a byte. */
const WIDE = /[^\0-\u00ff]/;

/** Writes a value beside a block. Returns what `readJson` needs; 0: it has to go by port. */
export function writeJson(memory: Memory, block: number, value: unknown): number {
  const text = jsonFor(value);
  if (text === undefined) return 0;
  const isWide = WIDE.test(text);
  const length = isWide ? 2 * text.length : text.length;
  if (length > MOST_BYTES) return 0;
  const { words } = memory;
  if (words[block + JSON_SLOT] === 0) {
    if (!memory.isAmple) return 0;
    const at = memory.grab(JSON_SLOT_UNITS);
    memory.words[block + JSON_SLOT] = at;
  }
  const at = placeOf(memory, block);
  memory.bytes.write(text, at, isWide ? 'ucs2' : 'latin1');
  return isWide ? -length : length;
}

/** A value as JSON, where JSON says it exactly. What throws when it is read, throws again elsewhere. */
function jsonFor(value: unknown): string | undefined {
  try {
    // oxlint-disable-next-line typescript/no-unnecessary-condition -- who knows what a program adds
    if ((Array.prototype as { toJSON?: unknown }).toJSON !== undefined) return undefined;
    return new JsonCheck().isExact(value) ? JSON.stringify(value) : undefined;
  } catch {
    return undefined;
  }
}

/** The value that stands beside a block; undefined: it is being written for somebody else. */
export function readJson(memory: Memory, block: number, length: number): unknown {
  const at = placeOf(memory, block);
  const { bytes } = memory;
  try {
    const encoding = length < 0 ? 'ucs2' : 'latin1';
    const text = bytes.toString(encoding, at, at + Math.abs(length));
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The first byte of a block's text, which is within the views. */
function placeOf(memory: Memory, block: number): number {
  const word = memory.words[block + JSON_SLOT] as number;
  memory.reach(word + JSON_SLOT_UNITS * UNIT - 1);
  return word * 4;
}

/** Looks through one value. */
class JsonCheck {
  readonly #seen: object[] = [];
  /** What the text may still take, at least: the look at a large value ends soon. */
  #bytes = MOST_BYTES;

  /** Whether JSON says a value exactly, and perhaps briefly enough. */
  isExact(value: unknown): boolean {
    if (typeof value === 'string') return this.#hasRoom(value.length + 2);
    if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
    if (typeof value === 'object') return value === null || this.#isPlain(value);
    return typeof value === 'boolean';
  }

  #hasRoom(bytes: number): boolean {
    this.#bytes -= bytes;
    return this.#bytes >= 0;
  }

  #isPlain(value: object): boolean {
    const seen = this.#seen;
    // The same object in two places has to be the same there, too.
    if (seen.length >= MOST_OBJECTS || seen.includes(value) || types.isProxy(value)) return false;
    seen.push(value);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (Array.isArray(value)) {
      // A digit and a comma each.
      return (
        prototype === Array.prototype && this.#hasRoom(2 * value.length) && this.#isWhole(value)
      );
    }
    if (prototype !== Object.prototype) return false;
    return Object.keys(value).every(
      (key) =>
        this.#hasRoom(key.length + 4) && this.isExact((value as Record<string, unknown>)[key]),
    );
  }

  /** Without holes, and with nothing but elements. */
  #isWhole(value: readonly unknown[]): boolean {
    const keys = Object.keys(value);
    if (keys.length !== value.length) return false;
    // Indices are the first keys: if the last key is the last index, there are no others.
    if (keys.length > 0 && keys.at(-1) !== String(value.length - 1)) return false;
    return value.every((element) => this.isExact(element));
  }
}

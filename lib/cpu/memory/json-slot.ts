/*
 * JSON slots: arguments and results of jobs that are small plain values are written to shared memory as
 * JSON, so that they need not be posted through a port.
 *
 *   block --> its JSON slot: 1 KiB, allocated when the block first needs it, and kept with the block
 *               the argument    written before the job is scheduled; read before it is entered
 *               the result      overwrites the argument before the run ends; read before the job ends
 *
 * A value that is posted wakes its CPU as soon as it arrives, before the inbox message that names it has
 * been pushed, so most posted values wake a CPU twice. With JSON slots a round trip takes a third less
 * CPU time.
 *
 * The slot is used for values that JSON represents exactly: strings, booleans, null, finite numbers
 * except -0, and arrays without holes and plain objects of these, if no object occurs twice. All other
 * values are posted and cloned by structured clone. So are values whose JSON is too long for the slot,
 * and values of blocks without a slot once a quarter of the memory is used.
 *
 * A late reader may read a slot that is being written for another job. That is harmless: the generation
 * of the block has changed by then, so the entry cannot be entered.
 */

import { types } from 'node:util';
import { JSON_SLOT } from './control-block.ts';
import { UNIT, type Memory } from './shared-memory.ts';

const JSON_SLOT_UNITS = 16;
const MOST_BYTES = JSON_SLOT_UNITS * UNIT * 4;
/** Values with more objects and arrays than this are not checked any further, and are posted. */
const MOST_OBJECTS = 16;
/** Matches a character that does not fit into a byte. */
const WIDE = /[^\0-\u00ff]/;

/** Writes a value to the block's JSON slot. Returns the `length` for `readJson`; 0: it has to be posted. */
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

/**
 * Returns a value as JSON if JSON represents it exactly, else undefined. If reading the value throws, it
 * throws again when the value is posted, and that is where the error is reported.
 */
function jsonFor(value: unknown): string | undefined {
  try {
    // oxlint-disable-next-line typescript/no-unnecessary-condition -- a program may add it
    if ((Array.prototype as { toJSON?: unknown }).toJSON !== undefined) return undefined;
    return new JsonCheck().isExact(value) ? JSON.stringify(value) : undefined;
  } catch {
    return undefined;
  }
}

/** Reads the value in a block's JSON slot; undefined if another value is being written to it. */
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

/** The byte index of a block's JSON slot. Extends the views to it if necessary. */
function placeOf(memory: Memory, block: number): number {
  const word = memory.words[block + JSON_SLOT] as number;
  memory.reach(word + JSON_SLOT_UNITS * UNIT - 1);
  return word * 4;
}

/** Checks whether JSON represents one value exactly. */
class JsonCheck {
  readonly #seen: object[] = [];
  /** An upper bound of the bytes that are left, so that the check of a large value ends early. */
  #bytes = MOST_BYTES;

  /** Whether JSON represents a value exactly, and may be short enough. */
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
    // An object that occurs twice has to be one object on the other CPU too, which JSON cannot say.
    if (seen.length >= MOST_OBJECTS || seen.includes(value) || types.isProxy(value)) return false;
    seen.push(value);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (Array.isArray(value)) {
      // Each element takes at least a digit and a comma.
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

  /** Whether an array has no holes and no properties other than its elements. */
  #isWhole(value: readonly unknown[]): boolean {
    const keys = Object.keys(value);
    if (keys.length !== value.length) return false;
    // Indices are the first keys: if the last key is the last index, there are no others.
    if (keys.length > 0 && keys.at(-1) !== String(value.length - 1)) return false;
    return value.every((element) => this.isExact(element));
  }
}

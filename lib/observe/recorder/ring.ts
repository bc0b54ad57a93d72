/*
 * The ring of one CPU: records of fixed size in shared memory, so that another thread can read what a blocked one
 * has recorded. The oldest record is overwritten by the newest.
 *
 *   header   WRITTEN  number of records written, at most 2^31     NAMES_USED  bytes of the names
 *            CPU      index of the CPU, plus 1; 0: not in use     NAMES       number of the names
 *   records  each 24 bytes: time (a double, in ms, on a clock that all threads share), head, id, a, b
 *   names    lines of JSON; the number of a name is that of its line. Names are only added
 *
 *   head     kind (4 bits) | flags (4) | priority (8) | name (16)
 *   id       tells continuations of this CPU apart
 *   a, b     schedule: delay in ticks          enter: how long it was due, in ticks; the pass
 *            wait: the lock; who holds it      settle, suspend: how many runs before it have an estimated end
 *
 * Only the thread of the CPU writes. A reader copies, and then drops the oldest records if they may have been
 * overwritten while it copied.
 */

/** The number of rings: the maximum number of CPUs. @internal */
export const MOST_CPUS = 16;

/** @internal */
export const SCHEDULE = 1;
/** @internal */
export const EXPIRE = 2;
/** @internal */
export const WAIT = 3;
/** @internal */
export const ENTER = 4;
/** @internal */
export const SUSPEND = 5;
/** @internal */
export const SETTLE = 6;
/** @internal */
export const STOP = 7;
/** @internal */
export const FAIL = 8;

/** In the flags of `enter`: it has waited aside, for its lock, a place, its own run or another CPU. @internal */
export const ASIDE = 1;
/** Where the number of estimated ends at the end of the last pass begins. @internal */
export const OPEN_AT = 1;

/** Where the parts of a head begin. @internal */
export const FLAGS_AT = 4;
/** @internal */
export const PRIORITY_AT = 8;
/** @internal */
export const NAME_AT = 16;

const WRITTEN = 0;
const NAMES_USED = 1;
const CPU = 2;
const NAMES = 3;
const HEADER_BYTES = 16;
/** The size of a record. @internal */
export const RECORD_BYTES = 24;
const DOUBLES = RECORD_BYTES / Float64Array.BYTES_PER_ELEMENT;
const WORDS = RECORD_BYTES / Int32Array.BYTES_PER_ELEMENT;
const NAMES_BYTES = 2 ** 17;
/** When the number of records written is as large as this, it goes back to a multiple of every capacity. */
const LAST = 2 ** 31 - 1;
const FULL = 2 ** 30;

/** The largest number of a name. @internal */
export const MOST_NAMES: number = 2 ** 16 - 1;

/**
 * A record as it is stored: the time in ms on the common clock, kind, flags, id, priority, name, a and b.
 *
 * @internal
 */
export type Stored = readonly [
  atMs: number,
  kind: number,
  flags: number,
  id: number,
  priority: number,
  name: number,
  a: number,
  b: number,
];

/**
 * What a ring contained.
 *
 * @internal
 */
export interface RingContents {
  /** The index of the CPU. */
  readonly cpu: number;
  /** How many records have been overwritten, at least. */
  readonly lost: number;
  /** The names, each JSON. */
  readonly names: readonly string[];
  readonly records: readonly Stored[];
}

function ringBytes(capacity: number): number {
  return HEADER_BYTES + capacity * RECORD_BYTES + NAMES_BYTES;
}

/**
 * Creates the memory of so many rings. The system provides pages of it as they are written.
 *
 * @internal
 */
export function createRings(cpus: number, capacity: number): SharedArrayBuffer {
  return new SharedArrayBuffer(cpus * ringBytes(capacity));
}

/**
 * The end of a ring, as it is stored.
 *
 * @internal
 */
export interface RingTail {
  /** The index of the CPU. */
  readonly cpu: number;
  /** How many records were written up to this end. */
  readonly written: number;
  /** How many records are missing that were written after those that the reader has. */
  readonly lost: number;
  readonly records: number;
  /** The records, each 24 bytes. */
  readonly bytes: Uint8Array;
  /** The names that the reader does not have, each JSON. */
  readonly names: readonly string[];
}

/**
 * One ring.
 *
 * @internal
 */
export class Ring {
  readonly capacity: number;
  readonly #mask: number;
  #written = 0;
  readonly #header: Int32Array;
  readonly #times: Float64Array;
  readonly #words: Int32Array;
  readonly #names: Uint8Array;

  /** @param capacity - the number of records, a power of two */
  constructor(buffer: SharedArrayBuffer, index: number, capacity: number) {
    const at = index * ringBytes(capacity);
    const records = at + HEADER_BYTES;
    this.capacity = capacity;
    this.#mask = capacity - 1;
    this.#header = new Int32Array(buffer, at, HEADER_BYTES / Int32Array.BYTES_PER_ELEMENT);
    this.#times = new Float64Array(buffer, records, capacity * DOUBLES);
    this.#words = new Int32Array(buffer, records, capacity * WORDS);
    this.#names = new Uint8Array(buffer, records + capacity * RECORD_BYTES, NAMES_BYTES);
  }

  /** Begins to be used by a CPU. */
  begin(cpu: number): void {
    this.#header[CPU] = cpu + 1;
    this.#written = this.#header[WRITTEN] as number;
  }

  /** How many names it has. */
  get names(): number {
    return this.#header[NAMES] as number;
  }

  write(atMs: number, head: number, id: number, a: number, b: number): void {
    const written = this.#written;
    const at = written & this.#mask;
    const words = this.#words;
    const word = at * WORDS;
    this.#times[at * DOUBLES] = atMs;
    words[word + 2] = head;
    words[word + 3] = id;
    words[word + 4] = a;
    words[word + 5] = b;
    this.#written = written < LAST ? written + 1 : FULL;
    this.#header[WRITTEN] = this.#written;
  }

  /** Adds a name, as JSON. Returns false if there is no space left. */
  addName(json: string): boolean {
    const used = this.#header[NAMES_USED] as number;
    const line = Buffer.from(`${json}\n`);
    if (used + line.length > NAMES_BYTES) return false;
    this.#names.set(line, used);
    this.#header[NAMES] = this.names + 1;
    Atomics.store(this.#header, NAMES_USED, used + line.length);
    return true;
  }

  /**
   * Returns what it contains; undefined: no CPU has used it.
   *
   * @param sinceMs - only the newest records, as far back as to the first one that is before this time
   */
  read(sinceMs: number = -Infinity): RingContents | undefined {
    const cpu = (this.#header[CPU] as number) - 1;
    if (cpu < 0) return undefined;
    const written = Atomics.load(this.#header, WRITTEN);
    const times = this.#times.slice();
    const words = this.#words.slice();
    // The next record may have been begun, too.
    const oldest = Math.max(0, Atomics.load(this.#header, WRITTEN) + 1 - this.capacity);
    let from = written;
    while (from > oldest && (times[((from - 1) & this.#mask) * DOUBLES] as number) >= sinceMs)
      from--;
    const records: Stored[] = [];
    for (let n = from; n < written; n++) {
      const at = n & this.#mask;
      const word = at * WORDS;
      const head = words[word + 2] as number;
      records.push([
        times[at * DOUBLES] as number,
        head & 15,
        (head >>> FLAGS_AT) & 15,
        words[word + 3] as number,
        (head >>> PRIORITY_AT) & 255,
        head >>> NAME_AT,
        words[word + 4] as number,
        words[word + 5] as number,
      ]);
    }
    const used = Atomics.load(this.#header, NAMES_USED);
    const text = Buffer.from(this.#names.slice(0, used)).toString();
    return { cpu, lost: oldest, names: text.split('\n').slice(0, -1), records };
  }

  /**
   * Returns the records that were written after the first `after` ones, without decoding them; undefined: no CPU
   * has used it.
   *
   * @param names - how many names the reader has
   * @param most - at most so many records, the newest
   */
  tail(after: number, names: number, most: number): RingTail | undefined {
    const cpu = (this.#header[CPU] as number) - 1;
    if (cpu < 0) return undefined;
    const written = Atomics.load(this.#header, WRITTEN);
    // The reader may have read another ring, or the count has gone back.
    const known = after <= written ? after : 0;
    const first = Math.max(known, written - Math.min(most, this.capacity));
    const copy = new Uint8Array((written - first) * RECORD_BYTES);
    const begin = (first & this.#mask) * WORDS;
    const end = begin + (written - first) * WORDS;
    const { length } = this.#words;
    const words = new Int32Array(copy.buffer);
    words.set(this.#words.subarray(begin, Math.min(end, length)));
    if (end > length) words.set(this.#words.subarray(0, end - length), length - begin);
    // The next record may have been begun, too.
    const oldest = Math.max(0, Atomics.load(this.#header, WRITTEN) + 1 - this.capacity);
    const from = Math.min(written, Math.max(first, oldest));
    return {
      cpu,
      written,
      lost: from - known,
      records: written - from,
      bytes: copy.subarray((from - first) * RECORD_BYTES),
      names: this.#namesFrom(names),
    };
  }

  #namesFrom(known: number): string[] {
    if (known >= this.names) return [];
    const used = Atomics.load(this.#header, NAMES_USED);
    const text = Buffer.from(this.#names.slice(0, used)).toString();
    return text.split('\n').slice(known, -1);
  }
}

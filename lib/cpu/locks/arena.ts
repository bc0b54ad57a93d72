/*
 * The arena: the memory of the locks between CPUs, one SharedArrayBuffer divided into lines of 64 bytes.
 *
 *   line 0        magic | id, 3 words | top | CPUs that have joined | a free list per size
 *   line 1 … 32   the futex of each CPU (futex.ts)
 *   line 33 …     locks, each a whole number of lines:
 *
 *     line 0      kind | generation | references | attached CPUs | owner | waiting | next free
 *     line 1, 2   one word per CPU: does it ask for the write side? (protocol.ts)
 *     then        Mutex, SpinLock   nothing                              192 bytes
 *                 RWLock            one word per CPU, side by side       320 bytes
 *                 RMLock            a line left free, a line per CPU    2304 bytes
 *
 * The line left free is needed because the buffer need not begin at a cache line: the last words of one
 * line may share a cache line with the first word of the next.
 *
 * All locks can be enumerated by going from line to line, so that one thread can recover everything that
 * a dead one has left (recover.ts). Only the first word of a lock contains its magic number.
 *
 * Memory comes from the lists of freed locks, else from the top, else from a free lock of a larger kind,
 * which is split permanently: an RMLock can be split into Mutexes, but Mutexes are not joined to an
 * RMLock. The lists are stacks whose heads carry a tag, which avoids the ABA problem. A thread that dies
 * while it allocates or frees a lock loses the memory of that lock only.
 *
 * A lock is freed when its last reference is released. References are held by each thread that is
 * attached to it, until the garbage collector finds that thread's object unreachable; by each control
 * block whose lock it is; and by each pinned handle. A message that contains a lock holds none: its
 * sender keeps its own object, and thereby its reference, as long as the message may still be read.
 * Every mention of a lock includes its generation, so that a message that outlives its lock is detected.
 *
 * Only locks that more than one thread may know are in the arena. A lock that has never left its thread
 * has no memory here, and a lock that only one thread knows again gives its memory back (thread-gate.ts).
 *
 * Cost: an allocation is a compareExchange and as many stores as the lock has words. A wake-up makes a
 * thread check the locks that it waits for, not all locks.
 *
 * The arena grows by 1 MiB at a time, up to 64 MiB: 29,000 RMLocks or 340,000 Mutexes that more than one
 * thread knows, or that are garbage and not collected yet. The garbage collector does not see this
 * memory. It sees 700 bytes of an RMLock, and with a large heap it lets more garbage pile up than the
 * arena has room for. So a thread that attaches a lock when 16 MiB are in use gives the collector a hint,
 * and makes all other threads do the same: it allocates 80 MiB, which are never touched, and drops them.
 * V8 counts these and starts marking; unused locks are freed within one or two turns (Node 20 to 26,
 * heaps of 10 to 200 MB). A burst of locks without a turn in between is limited by the memory.
 */

import { threadId } from 'node:worker_threads';
import { KcontError, invalid } from '../../base/errors.ts';
import { Futex } from './futex.ts';

/** The size of a line, in words. */
export const LINE = 16;
/** The most CPUs that can share an arena: as many as a word has bits. */
export const CPUS = 32;

/** Kinds of locks, as they are stored in the arena. */
export const MUTEX = 1;
export const SPIN = 2;
export const RW = 3;
export const RM = 4;
export type Kind = typeof MUTEX | typeof SPIN | typeof RW | typeof RM;

/** The size of each kind, in lines. */
const LINES: Readonly<Record<Kind, number>> = {
  [MUTEX]: 3,
  [SPIN]: 3,
  [RW]: 5,
  [RM]: 4 + CPUS,
};

// Words of line 0 of the arena.
const ID = 1;
const TOP = 4;
const JOINED = 5;
/** The number of lines that are in use by locks. */
const USED = 9;
/** Counts the hints to the garbage collector, by any thread. */
const HINTS = 10;
/** The free list of each kind. A Mutex and a SpinLock have the same size and share a list. */
const FREE: Readonly<Record<Kind, number>> = { [MUTEX]: 6, [SPIN]: 6, [RW]: 7, [RM]: 8 };
const FIRST = 1 + CPUS;

/** How to split a free lock of kind `from`: into one of the wanted kind, followed by the others. */
type Split = readonly [from: Kind, others: readonly Kind[]];
// Splitting an RWLock wastes two of its lines.
const MUTEX_SPLITS: readonly Split[] = [
  [RM, Array<Kind>(11).fill(MUTEX)],
  [RW, []],
];
/** The possible splits, by the wanted kind. */
const SPLITS: Readonly<Record<Kind, readonly Split[]>> = {
  [MUTEX]: MUTEX_SPLITS,
  [SPIN]: MUTEX_SPLITS,
  [RW]: [[RM, [RW, RW, RW, RW, RW, MUTEX, MUTEX]]],
  [RM]: [],
};

// Words of line 0 of a lock.
const KIND = 0;
const GENERATION = 1;
const REFERENCES = 2;
const ATTACHED = 3;
/** The CPU that has or has claimed the write side, plus 1; 0 if there is none. */
export const OWNER = 4;
/** A bit for each CPU that may be asking for a side of the lock. */
export const WAITING = 5;
const NEXT_FREE = 6;

const MAGIC = 0x6b_63_6c_00;
const ARENA_MAGIC = 0x6b_63_61_01;

/** A line number has 20 bits, so an arena has at most 64 MiB. */
const LINE_BITS = 20;
const LINE_MASK = (1 << LINE_BITS) - 1;
const MOST_BYTES = 2 ** LINE_BITS * LINE * 4;
/** The arena grows by this many bytes. */
const STEP_BYTES: number = 2 ** 20;
/** The first hint to the collector is given when MUCH_BYTES are in use, the next per MORE_BYTES. */
const MUCH_BYTES: number = 2 ** 24;
const MORE_BYTES: number = 2 ** 21;
/** The size of a hint. V8 starts a collection at once after 64 MiB of allocations outside its heap. */
const HINT_BYTES: number = 80 * 2 ** 20;
const LEAST_BYTES = (FIRST + LINES[RM]) * LINE * 4;

/** Wakes other CPUs. The default is {@link Futex}; specs use others. */
export interface Waker {
  /** Makes a CPU call {@link Arena.look} soon, whatever it is doing now. May be called needlessly. */
  wake(cpu: number): void;
  /** Sets whether this thread has to stay alive, because code on it waits for another CPU. */
  keepAlive(on: boolean): void;
}

/** The object by which a thread is attached to a lock. */
interface Attachment {
  readonly at: number;
  readonly gate: WeakRef<object>;
}

/** A lock that has to be checked when this thread is woken. */
export interface Listener {
  balance(): void;
}

/** How a thread joins an arena. */
export interface JoinOptions {
  /** The CPU number, 0 … 31; by default the first that is free. */
  cpu?: number;
  /** How CPUs wake each other. All CPUs have to use the same kind. */
  waker?: Waker;
}

/** An arena, as one thread sees it. */
export class Arena {
  readonly buffer: SharedArrayBuffer;
  /** A view of fixed length, because one that tracks the buffer is slow. `#reach` replaces it. */
  words: Int32Array;
  /** The CPU number of this thread. */
  readonly cpu: number;
  readonly #waker: Waker;
  /** The number of bytes in use at which the collector is given the next hint. */
  #hintAt = MUCH_BYTES;
  #hints = 0;
  readonly #listening = new Set<Listener>();
  readonly #attached = new Map<number, Attachment>();
  readonly #collected = new FinalizationRegistry<Attachment>((attachment) => {
    if (this.#detach(attachment)) this.release(attachment.at);
  });
  /** The number of locks for which code on this thread awaits another CPU. */
  #keeping = 0;

  private constructor(buffer: SharedArrayBuffer, { cpu, waker }: JoinOptions) {
    this.buffer = buffer;
    this.words = viewOf(buffer);
    this.cpu = this.#join(cpu);
    this.#waker = waker ?? new Futex(this.words, LINE, this.cpu, () => this.look());
  }

  /** Makes an arena of at most so many bytes, and joins it. */
  static create(bytes: number = MOST_BYTES, options: JoinOptions = {}): Arena {
    return Arena.join(Arena.layOut(bytes), options);
  }

  /** Makes an arena that nobody has joined. */
  static layOut(bytes: number): SharedArrayBuffer {
    if (!(Number.isInteger(bytes) && bytes >= LEAST_BYTES && bytes <= MOST_BYTES)) {
      throw invalid('bytes', `an integer from ${LEAST_BYTES} to ${MOST_BYTES}`, bytes);
    }
    const Growable = SharedArrayBuffer as unknown as MakeGrowable;
    const buffer = new Growable(Math.min(bytes, STEP_BYTES), { maxByteLength: bytes });
    const words = viewOf(buffer);
    words[ID] = threadId;
    words[ID + 1] = made[0]++;
    // Random, because another copy of this module on this thread also counts from 0.
    words[ID + 2] = Math.trunc(Math.random() * 2 ** 31);
    words[TOP] = FIRST;
    words[0] = ARENA_MAGIC;
    return buffer;
  }

  /**
   * Joins the arena in a buffer. Later calls on the same thread return the same object.
   *
   * @throws KcontError EINVAL if the buffer contains no arena, EBUSY if that CPU has joined and was not
   * recovered, ENOMEM if no CPU number is free
   */
  static join(buffer: SharedArrayBuffer, options: JoinOptions = {}): Arena {
    const words = viewOf(buffer);
    if (words[0] !== ARENA_MAGIC) throw invalid('buffer', 'the buffer of an arena', buffer);
    const id = idOf(words);
    let arena = arenas.get(id);
    if (arena === undefined) {
      arena = new Arena(buffer, options);
      arenas.set(id, arena);
      homes[0] ??= arena;
    }
    return arena;
  }

  /** Makes this thread act as one more CPU, for specs. */
  static play(buffer: SharedArrayBuffer, options: JoinOptions): Arena {
    return new Arena(buffer, options);
  }

  /** Returns the arena in which this thread makes its locks: the first one that it made or joined. */
  static home(): Arena {
    return homes[0] ?? Arena.create();
  }

  #join(wanted: number | undefined): number {
    if (wanted !== undefined && !(Number.isInteger(wanted) && wanted >= 0 && wanted < CPUS)) {
      throw invalid('cpu', `an integer from 0 to ${CPUS - 1}`, wanted);
    }
    for (;;) {
      const joined = Atomics.load(this.words, JOINED);
      const cpu = wanted ?? 31 - Math.clz32(~joined & -~joined);
      if (cpu < 0) throw new KcontError('ENOMEM', `an arena has room for ${CPUS} threads`);
      const bit = 1 << cpu;
      if ((joined & bit) !== 0) {
        throw new KcontError('EBUSY', `CPU ${cpu} has joined the arena, and was not recovered`);
      }
      if (Atomics.compareExchange(this.words, JOINED, joined, joined | bit) === joined) return cpu;
    }
  }

  /** A bit for each CPU that has joined and was not recovered. */
  get joined(): number {
    return Atomics.load(this.words, JOINED);
  }

  /** Removes a dead CPU from those that have joined. */
  strike(cpu: number): void {
    Atomics.and(this.words, JOINED, ~(1 << cpu));
  }

  /** Wakes another CPU. */
  wake(cpu: number): void {
    this.#waker.wake(cpu);
  }

  /** Checks the locks that this thread waits for. Called when the thread is woken. */
  look(): void {
    for (const listener of Array.from(this.#listening)) listener.balance();
    const hints = Atomics.load(this.words, HINTS);
    if (hints === this.#hints) return;
    this.#hints = hints;
    hintCollector();
  }

  /** Checks, after a lock was attached, whether to give all threads' collectors a hint. */
  #watch(): void {
    const used = Atomics.load(this.words, USED) * LINE * 4;
    if (used < this.#hintAt) {
      this.#hintAt = Math.max(MUCH_BYTES, Math.min(this.#hintAt, used + MORE_BYTES));
      return;
    }
    this.#hintAt = used + MORE_BYTES;
    this.#hints = Atomics.add(this.words, HINTS, 1) + 1;
    hintCollector();
    for (let left = this.joined & ~(1 << this.cpu); left !== 0; left &= left - 1) {
      this.wake(31 - Math.clz32(left & -left));
    }
  }

  /** Sets whether a lock has to be checked when this thread is woken. */
  listen(listener: Listener, on: boolean): void {
    if (on) this.#listening.add(listener);
    else this.#listening.delete(listener);
  }

  /** Counts code that begins or ceases to await another CPU, which keeps the thread alive. */
  keepAlive(on: boolean): void {
    this.#keeping += on ? 1 : -1;
    if (on ? this.#keeping === 1 : this.#keeping === 0) this.#waker.keepAlive(on);
  }

  /**
   * Allocates memory for a lock that nobody holds, with one reference.
   *
   * @returns the index of its first word
   * @throws KcontError ENOMEM if the arena is full
   */
  allocate(kind: Kind): number {
    const line = this.#pop(FREE[kind]) || this.#fromTop(LINES[kind]) || this.#fromLarger(kind);
    if (line === 0) {
      const bytes = (this.buffer as GrowableBuffer).maxByteLength;
      throw new KcontError('ENOMEM', `the memory of locks between CPUs is full: ${bytes} bytes`);
    }
    const at = line * LINE;
    // Read after the allocation, because the view is replaced when the arena has grown.
    const { words } = this;
    Atomics.add(words, USED, LINES[kind]);
    Atomics.store(words, at + REFERENCES, 1);
    Atomics.store(words, at + KIND, MAGIC | kind);
    return at;
  }

  /** Allocates lines beyond all locks; 0 if there are not enough. */
  #fromTop(lines: number): number {
    const top = Atomics.add(this.words, TOP, lines);
    const end = (top + lines) * LINE;
    if (!this.#growTo(end * 4)) {
      Atomics.sub(this.words, TOP, lines);
      return 0;
    }
    this.#reach(end - 1);
    return top;
  }

  /** Splits a free lock of a larger kind; 0 if there is none. */
  #fromLarger(kind: Kind): number {
    for (const [from, others] of SPLITS[kind]) {
      const first = this.#pop(FREE[from]);
      if (first === 0) continue;
      this.#reach((first + LINES[from]) * LINE - 1);
      let line = first + LINES[kind];
      for (const other of others) {
        this.#push(FREE[other], line);
        line += LINES[other];
      }
      return first;
    }
    return 0;
  }

  /** Grows the buffer to at least so many bytes; false if that is impossible. */
  #growTo(bytes: number): boolean {
    const buffer = this.buffer as GrowableBuffer;
    const wanted = Math.min(Math.ceil(bytes / STEP_BYTES) * STEP_BYTES, buffer.maxByteLength);
    try {
      if (bytes > buffer.byteLength) buffer.grow(wanted);
    } catch {
      // The system has no memory, or another thread has grown it further meanwhile.
    }
    return bytes <= buffer.byteLength;
  }

  /** Replaces the view if a word that exists is beyond its end. */
  #reach(word: number): void {
    if (word >= this.words.length) this.words = viewOf(this.buffer);
  }

  #pop(list: number): number {
    const { words } = this;
    for (;;) {
      const head = Atomics.load(words, list);
      const line = head & LINE_MASK;
      if (line === 0) return 0;
      this.#reach(line * LINE + NEXT_FREE);
      const next = Atomics.load(this.words, line * LINE + NEXT_FREE);
      if (this.#swap(list, head, next)) return line;
    }
  }

  #push(list: number, line: number): void {
    const { words } = this;
    for (;;) {
      const head = Atomics.load(words, list);
      Atomics.store(words, line * LINE + NEXT_FREE, head & LINE_MASK);
      if (this.#swap(list, head, line)) return;
    }
  }

  /** Sets a new head with the next tag; false if the head has changed. */
  #swap(list: number, head: number, line: number): boolean {
    const swapped = ((head & ~LINE_MASK) + (1 << LINE_BITS)) | line;
    return Atomics.compareExchange(this.words, list, head, swapped) === head;
  }

  /** The kind of the lock that begins at a word; 0 if there is none. */
  kindAt(at: number): Kind | 0 {
    this.#reach(at + LINE - 1);
    const kind = Atomics.load(this.words, at + KIND) ^ MAGIC;
    return kind >= MUTEX && kind <= RM ? (kind as Kind) : 0;
  }

  /** The generation of a lock: how often its memory has been freed. */
  generationAt(at: number): number {
    return Atomics.load(this.words, at + GENERATION);
  }

  /** Takes one more reference to a lock; false if the lock has been freed. */
  retain(at: number, generation: number): boolean {
    this.#reach(at + LINE - 1);
    const { words } = this;
    for (let seen = Atomics.load(words, at + REFERENCES); seen > 0;) {
      const now = Atomics.compareExchange(words, at + REFERENCES, seen, seen + 1);
      if (now !== seen) {
        seen = now;
        continue;
      }
      if (this.kindAt(at) !== 0 && this.generationAt(at) === generation) return true;
      // The memory has been freed and is another lock by now.
      this.release(at);
      return false;
    }
    return false;
  }

  /** Releases a reference. The lock is freed with the last one. */
  release(at: number): void {
    this.#reach(at + LINE - 1);
    if (Atomics.sub(this.words, at + REFERENCES, 1) === 1) this.#free(at);
  }

  /** Releases the last reference of a lock, so that nobody can retain it; false if there are others. */
  takeLast(at: number): boolean {
    return Atomics.compareExchange(this.words, at + REFERENCES, 1, 0) === 1;
  }

  /** Frees a lock after {@link Arena.takeLast}. This thread is the one that is attached to it. */
  freeLast(at: number): void {
    const attachment = this.#attached.get(at);
    if (attachment !== undefined) this.#detach(attachment);
    this.#free(at);
  }

  #free(at: number): void {
    const kind = this.kindAt(at) as Kind;
    this.#reach(at + LINES[kind] * LINE - 1);
    const { words } = this;
    Atomics.store(words, at + KIND, 0);
    Atomics.add(words, at + GENERATION, 1);
    for (const word of [ATTACHED, OWNER, WAITING]) Atomics.store(words, at + word, 0);
    words.fill(0, at + LINE, at + LINES[kind] * LINE);
    Atomics.sub(words, USED, LINES[kind]);
    this.#push(FREE[kind], at / LINE);
  }

  /** The number of references to a lock. */
  referencesAt(at: number): number {
    return Atomics.load(this.words, at + REFERENCES);
  }

  /** The object by which this thread is attached to a lock; undefined if there is none. */
  attachedAt(at: number): object | undefined {
    return this.#attached.get(at)?.gate.deref();
  }

  /**
   * Attaches this thread to a lock by an object, which takes over one reference of the caller. A thread
   * has one reference, so that of an earlier object, collected but not yet reported, is released.
   */
  attach(at: number, gate: object): void {
    const before = this.#attached.get(at);
    const attachment = { at, gate: new WeakRef(gate) };
    this.#attached.set(at, attachment);
    this.#collected.register(gate, attachment, attachment);
    Atomics.or(this.words, at + ATTACHED, 1 << this.cpu);
    this.#watch();
    if (before === undefined) return;
    this.#collected.unregister(before);
    this.release(at);
  }

  /** Detaches this thread from a lock; false if another object has taken the place of this one. */
  #detach(attachment: Attachment): boolean {
    const { at } = attachment;
    if (this.#attached.get(at) !== attachment) return false;
    this.#attached.delete(at);
    this.#collected.unregister(attachment);
    Atomics.and(this.words, at + ATTACHED, ~(1 << this.cpu));
    return true;
  }

  /** Releases the reference of a dead CPU. */
  detachDead(at: number, cpu: number): void {
    const bit = 1 << cpu;
    if ((Atomics.and(this.words, at + ATTACHED, ~bit) & bit) !== 0) this.release(at);
  }

  /** Enumerates the locks, by the indices of their first words. */
  *[Symbol.iterator](): Generator<number, void, undefined> {
    const { byteLength } = this.buffer;
    const end = Math.min(Atomics.load(this.words, TOP) * LINE, byteLength / 4);
    for (let at = FIRST * LINE; at < end;) {
      const kind = this.kindAt(at);
      if (kind !== 0) yield at;
      at += (kind === 0 ? 1 : LINES[kind]) * LINE;
    }
  }
}

/** The arenas of this thread by their ids; a buffer that is received twice is two objects. */
const arenas = new Map<string, Arena>();
/** The home arena of this thread, once it has one. */
const homes: Arena[] = [];
const made: [number] = [0];

function hintCollector(): void {
  try {
    void new ArrayBuffer(HINT_BYTES);
  } catch {
    // The allocation failed, and V8 has already collected garbage because of that.
  }
}

/** SharedArrayBuffer of ES2024. */
interface GrowableBuffer extends SharedArrayBuffer {
  grow(bytes: number): void;
  readonly maxByteLength: number;
}

type MakeGrowable = new (bytes: number, options: { maxByteLength: number }) => SharedArrayBuffer;

function viewOf(buffer: SharedArrayBuffer): Int32Array {
  return new Int32Array(buffer, 0, buffer.byteLength / 4);
}

function idOf(words: Int32Array): string {
  return `${words[ID]} ${words[ID + 1]} ${words[ID + 2]}`;
}

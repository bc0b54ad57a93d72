/*
 * The memory in which the locks between CPUs live: one SharedArrayBuffer, in lines of 64 bytes.
 *
 *   line 0        magic | id, 3 words | top | CPUs that have joined | a free list per size
 *   line 1 … 32   the bell of each CPU
 *   line 33 …     locks, each a whole number of lines:
 *
 *     line 0      kind | generation | references | attached CPUs | owner | waiting | next free
 *     line 1, 2   one word per CPU: does it ask for the write side? (shared-words.ts)
 *     then        Mutex, SpinLock   nothing                              192 bytes
 *                 RWLock            one word per CPU, side by side       320 bytes
 *                 RMLock            a line left free, a line per CPU    2304 bytes
 *
 * A line left free: the buffer need not begin at a line of the cache, so that the last words of one
 * line may share a line of the cache with the first word of the next.
 *
 * Every lock can be found by going from line to line, so that one thread can put right all that a
 * dead one has left (shared-recover.ts). Words other than a lock's first never look like one.
 *
 * Memory comes from the lists of what has been freed, else from the top, else from a free lock of a
 * larger kind, which is split for good: Mutexes come out of an RMLock, an RMLock not out of Mutexes.
 * The lists are stacks whose heads carry a tag, so that a head that was taken and put back in between
 * is not mistaken for an old one. A thread that dies while it takes or frees a lock loses that one
 * lock's memory, and nothing else.
 *
 * A lock is freed when nobody has a reference: each thread that is attached to it has one, until the
 * garbage collector has found that thread's object unreachable; each control block whose lock it is;
 * and each handle that was pinned. A message that names a lock has none: who sent it keeps its own
 * object, and so its reference, for as long as the message may have to be read. Whoever names a lock
 * says its generation too, so that a message that outlives its lock is found out.
 *
 * Only locks that more than one thread may know are here. One that has never left its thread has no
 * memory here, and one that has come back gives it up (shared-gate.ts).
 *
 * Cost: allocating is a compareExchange and as many stores as there are words. A ring makes the
 * thread look at those locks for which it waits, not at all.
 *
 * It grows by 1 MiB at a time, up to 64 MiB: 29,000 RMLocks or 340,000 Mutexes that more than one thread
 * knows, or that are garbage and have not been collected. A garbage collector cannot see this memory:
 * of an RMLock it sees 700 bytes, and with a large heap it lets more garbage pile up than there is room
 * for. So a thread that attaches a lock when 16 MiB are used gives it a hint, and has all others do the
 * same: it allocates 80 MiB that are never touched, and lets go of them. V8 counts those, and marks;
 * within a turn or two what nobody has any more is free (Node 20 to 26, heaps of 10 to 200 MB). A burst
 * without a turn in between gets as far as the memory goes.
 */

import { threadId } from 'node:worker_threads';
import { KcontError, invalid } from '../../base/errors.ts';
import { Futex } from './futex.ts';

/** Words in a line. */
export const LINE = 16;
/** CPUs that can share an arena: as many as a word has bits. */
export const CPUS = 32;

/** What a lock is, as the memory says it. */
export const MUTEX = 1;
export const SPIN = 2;
export const RW = 3;
export const RM = 4;
export type Kind = typeof MUTEX | typeof SPIN | typeof RW | typeof RM;

/** Lines of each kind. */
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
/** Lines of all locks that there are. */
const USED = 9;
/** Counts the times at which some thread has found much used. */
const HINTS = 10;
/** By kind; a Mutex and a SpinLock have the same size, and the same list. */
const FREE: Readonly<Record<Kind, number>> = { [MUTEX]: 6, [SPIN]: 6, [RW]: 7, [RM]: 8 };
const FIRST = 1 + CPUS;

/** A free lock of this kind is split into one that is wanted and, behind that, the others. */
type Split = readonly [from: Kind, others: readonly Kind[]];
// Two lines of the RWLock are lost.
const MUTEX_SPLITS: readonly Split[] = [
  [RM, Array<Kind>(11).fill(MUTEX)],
  [RW, []],
];
/** By the kind that is wanted. */
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
/** 0: nobody has the write side, or has claimed it; else the number of the CPU, plus 1. */
export const OWNER = 4;
/** A bit for each CPU that may be asking for a side. */
export const WAITING = 5;
const NEXT_FREE = 6;

const MAGIC = 0x6b_63_6c_00;
const ARENA_MAGIC = 0x6b_63_61_01;

/** A line's number has 20 bits, so an arena 64 MiB. */
const LINE_BITS = 20;
const LINE_MASK = (1 << LINE_BITS) - 1;
const MOST_BYTES = 2 ** LINE_BITS * LINE * 4;
/** By how many bytes it grows. */
const STEP_BYTES: number = 2 ** 20;
/** From so much on that is used, garbage is asked for; and again when so much more is used. */
const MUCH_BYTES: number = 2 ** 24;
const MORE_BYTES: number = 2 ** 21;
/** What makes V8 look for garbage: beyond 64 MiB outside of its heap it does so at once. */
const HINT_BYTES: number = 80 * 2 ** 20;
const LEAST_BYTES = (FIRST + LINES[RM]) * LINE * 4;

/** How one CPU wakes another: a seam. {@link Futex} is what there is by default. */
export interface Waker {
  /** Makes that CPU call {@link Arena.look} soon, whatever it is doing now. May be called in vain. */
  wake(cpu: number): void;
  /** Whether this thread has to stay alive for its waker: code on it waits for another CPU. */
  keepAlive(on: boolean): void;
}

/** By which object a thread is attached to a lock. */
interface Attachment {
  readonly at: number;
  readonly gate: WeakRef<object>;
}

/** What looks again when the bell has rung. */
export interface Listener {
  balance(): void;
}

/** How a thread joins an arena. */
export interface JoinOptions {
  /** Which CPU it is, 0 … 31; by default the first that is free. */
  cpu?: number;
  /** How CPUs wake each other; the same on all of them. */
  waker?: Waker;
}

/** What one thread knows of a shared memory of locks. */
export class Arena {
  readonly buffer: SharedArrayBuffer;
  /** A view of a fixed length, for one that follows the buffer's is slow: made anew by `#reach`. */
  words: Int32Array;
  /** Which CPU this thread is. */
  readonly cpu: number;
  readonly #waker: Waker;
  /** When the collector is to be given a hint: when so many bytes are used. */
  #hintAt = MUCH_BYTES;
  #hints = 0;
  readonly #listening = new Set<Listener>();
  readonly #attached = new Map<number, Attachment>();
  readonly #collected = new FinalizationRegistry<Attachment>((attachment) => {
    if (this.#detach(attachment)) this.release(attachment.at);
  });
  /** Locks for which code on this thread waits, where another CPU has them. */
  #keeping = 0;

  private constructor(buffer: SharedArrayBuffer, { cpu, waker }: JoinOptions) {
    this.buffer = buffer;
    this.words = viewOf(buffer);
    this.cpu = this.#join(cpu);
    this.#waker = waker ?? new Futex(this.words, LINE, this.cpu, () => this.look());
  }

  /** Makes an arena of so many bytes, and joins it. */
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
    // Another copy of this module on this thread counts from 0 too.
    words[ID + 2] = Math.trunc(Math.random() * 2 ** 31);
    words[TOP] = FIRST;
    words[0] = ARENA_MAGIC;
    return buffer;
  }

  /**
   * Joins the arena in this buffer: once per thread, and gets the same object thereafter.
   *
   * @throws KcontError EINVAL if there is none in it, EBUSY if that CPU has joined and was not
   * recovered, ENOMEM if there is no number left
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

  /** For specs: this thread plays one more CPU. */
  static play(buffer: SharedArrayBuffer, options: JoinOptions): Arena {
    return new Arena(buffer, options);
  }

  /** The arena in which this thread makes its locks: the first that it made or joined. */
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

  /** A bit for each CPU that has joined, and was not recovered. */
  get joined(): number {
    return Atomics.load(this.words, JOINED);
  }

  /** A CPU is dead. */
  strike(cpu: number): void {
    Atomics.and(this.words, JOINED, ~(1 << cpu));
  }

  /** Wakes another CPU. */
  wake(cpu: number): void {
    this.#waker.wake(cpu);
  }

  /** The bell has rung: looks again at what this thread waits for. */
  look(): void {
    for (const listener of Array.from(this.#listening)) listener.balance();
    const hints = Atomics.load(this.words, HINTS);
    if (hints === this.#hints) return;
    this.#hints = hints;
    hintCollector();
  }

  /** A lock is attached: looks whether it is time to collect garbage, here and elsewhere. */
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

  /** Whether a lock is to be looked at when the bell rings. */
  listen(listener: Listener, on: boolean): void {
    if (on) this.#listening.add(listener);
    else this.#listening.delete(listener);
  }

  /** Code begins (or ceases) to wait for what another CPU has: that keeps the thread alive. */
  keepAlive(on: boolean): void {
    this.#keeping += on ? 1 : -1;
    if (on ? this.#keeping === 1 : this.#keeping === 0) this.#waker.keepAlive(on);
  }

  /**
   * Takes memory for a lock that nobody holds, with one reference.
   *
   * @returns the index of its first word
   * @throws KcontError ENOMEM if there is none
   */
  allocate(kind: Kind): number {
    const line = this.#pop(FREE[kind]) || this.#fromTop(LINES[kind]) || this.#fromLarger(kind);
    if (line === 0) {
      const bytes = (this.buffer as GrowableBuffer).maxByteLength;
      throw new KcontError('ENOMEM', `the memory of locks between CPUs is full: ${bytes} bytes`);
    }
    const at = line * LINE;
    // Not before: there is a new view when it has grown.
    const { words } = this;
    Atomics.add(words, USED, LINES[kind]);
    Atomics.store(words, at + REFERENCES, 1);
    Atomics.store(words, at + KIND, MAGIC | kind);
    return at;
  }

  /** The first of so many lines beyond all locks; 0: there are not so many. */
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

  /** Splits a free lock of a larger kind; 0: there is none. */
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

  /** False: it cannot grow so far, or the system has no memory for it. */
  #growTo(bytes: number): boolean {
    const buffer = this.buffer as GrowableBuffer;
    const wanted = Math.min(Math.ceil(bytes / STEP_BYTES) * STEP_BYTES, buffer.maxByteLength);
    try {
      if (bytes > buffer.byteLength) buffer.grow(wanted);
    } catch {
      // Or another thread has grown it meanwhile, and farther.
    }
    return bytes <= buffer.byteLength;
  }

  /** Sees to it that a word that exists is within the view. */
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

  /** A new head, with the next tag. */
  #swap(list: number, head: number, line: number): boolean {
    const swapped = ((head & ~LINE_MASK) + (1 << LINE_BITS)) | line;
    return Atomics.compareExchange(this.words, list, head, swapped) === head;
  }

  /** What kind of lock begins at this word; 0: none. */
  kindAt(at: number): Kind | 0 {
    this.#reach(at + LINE - 1);
    const kind = Atomics.load(this.words, at + KIND) ^ MAGIC;
    return kind >= MUTEX && kind <= RM ? (kind as Kind) : 0;
  }

  /** How often the memory of a lock has been used before. */
  generationAt(at: number): number {
    return Atomics.load(this.words, at + GENERATION);
  }

  /** Takes one more reference to a lock; false: it has been freed. */
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
      // It has been freed and is another lock by now.
      this.release(at);
      return false;
    }
    return false;
  }

  /** Gives a reference back; frees the lock with the last one. */
  release(at: number): void {
    this.#reach(at + LINE - 1);
    if (Atomics.sub(this.words, at + REFERENCES, 1) === 1) this.#free(at);
  }

  /** Takes the last reference of a lock: true, and nobody gets another. False: it is not the last. */
  takeLast(at: number): boolean {
    return Atomics.compareExchange(this.words, at + REFERENCES, 1, 0) === 1;
  }

  /** Frees a lock whose last reference was taken, to which this thread is attached. */
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

  /** How many references a lock has. */
  referencesAt(at: number): number {
    return Atomics.load(this.words, at + REFERENCES);
  }

  /** What this thread has made of a lock; undefined: it is not attached. */
  attachedAt(at: number): object | undefined {
    return this.#attached.get(at)?.gate.deref();
  }

  /**
   * This thread is attached to a lock by this object, to which a reference passes. It has one
   * reference, also if its object from before is gone and nobody has noticed that yet.
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

  /** False: another object has taken its place. */
  #detach(attachment: Attachment): boolean {
    const { at } = attachment;
    if (this.#attached.get(at) !== attachment) return false;
    this.#attached.delete(at);
    this.#collected.unregister(attachment);
    Atomics.and(this.words, at + ATTACHED, ~(1 << this.cpu));
    return true;
  }

  /** Gives back the reference of a dead CPU. */
  detachDead(at: number, cpu: number): void {
    const bit = 1 << cpu;
    if ((Atomics.and(this.words, at + ATTACHED, ~bit) & bit) !== 0) this.release(at);
  }

  /** The first words of all locks. */
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

/** By their ids: a buffer that comes twice is two objects. */
const arenas = new Map<string, Arena>();
/** The home of this thread, once it has one. */
const homes: Arena[] = [];
const made: [number] = [0];

function hintCollector(): void {
  try {
    void new ArrayBuffer(HINT_BYTES);
  } catch {
    // There is no room for it: the collector has come round for that already.
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

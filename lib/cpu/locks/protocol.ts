/*
 * The words of one lock between CPUs, and the steps that threads take on them.
 *
 *   owner      whose the write side is: 0 nobody's, else the CPU + 1. A Mutex is a write side only.
 *   slot       a word per CPU: does it ask for the write side?    OUT -> ASKS -> GRANTED -> OUT
 *   presence   a word per CPU: does it hold the read side, ask for it?
 *                OUT <-> IN     OUT -> ASKS -> GRANTED -> IN     IN <-> IN|ASKS -> GRANTED -> IN
 *   waiting    a bit per CPU that may be asking, so that a release that nobody waits for is short
 *
 * These words know CPUs, not those who wait on them: a CPU has a side, and lets its own continuations
 * and awaiting code in one after the other (shared-gate.ts).
 *
 *   write: claim     owner 0 -> me. With the claim nobody else's reader comes in, and the side is
 *                    held when no other CPU is present: the last to leave rings the owner.
 *   read:  come in   presence := IN, then owner is still 0. Else out again.
 *   ask:             slot (or presence) := ASKS, set the waiting bit, then try once more.
 *   give:            first every presence that ASKS is GRANTED; then the next slot that ASKS, going
 *                    round from the giver, is GRANTED and owner := that CPU, directly. If nobody
 *                    asks, owner := 0, and look once more for one who has asked meanwhile.
 *
 * So writers take turns by CPU, and readers that wait come in between any two of them: nobody
 * starves.
 *
 * Why it is right. "Ask, then try" meets "free, then look": one of the two sees the other. "Come in,
 * then look at the owner" meets "claim, then look who is present" in the same way. ASKS -> GRANTED is
 * a compareExchange, and so is ASKS -> OUT: one who withdraws is not granted, or learns that he is.
 * Otherwise a CPU's words are written by that CPU alone; owner is written by its owner alone once it
 * is not 0. A CPU whose slot is GRANTED waits until owner names it: it does not use the lock, and give
 * it away, before the giver's last store.
 *
 * At every point between two stores a dead thread's part can be finished by another: the owner names
 * the dead, and what it has granted is seen in the slots (`recover`).
 *
 * RWLock and RMLock differ in one number: the distance between two presences. Side by side they are
 * small, and every reader writes the same line of the cache; a line apart a reader writes its own,
 * and the writer has to read them all.
 *
 * A lock that one thread alone can know has four words of its own, in place of the arena's: nobody
 * else is present, and nobody asks. They move when it leaves its thread, and back (`moveTo`).
 *
 * Cost: uncontended, a compareExchange to claim, a load, a store and a load to give. A hand-over is
 * two stores and a ring.
 *
 * Sources: the order of ask and try is Dekker's, 1965; readers between writers, "phase fair":
 * Brandenburg and Anderson, 2009; a flag per reader: the rmlock(9) of FreeBSD, prwlock of Liu et al.,
 * 2014.
 */

import { LINE, MUTEX, OWNER, RM, RW, SPIN, WAITING, type Arena, type Kind } from './arena.ts';

const OUT = 0;
const IN = 1;
const ASKS = 2;
const GRANTED = 4;

/** Words between the presences of two CPUs; 0: there are none. */
const STRIDE: Readonly<Record<Kind, number>> = { [MUTEX]: 0, [SPIN]: 0, [RW]: 1, [RM]: LINE };
/** Lines before the first presence: one is left free for an RMLock. */
const PRESENCE_LINE: Readonly<Record<Kind, number>> = { [MUTEX]: 0, [SPIN]: 0, [RW]: 3, [RM]: 4 };

/** How long a recovery waits for a store that another thread is about to make, in ms a time. */
const GLANCE_MS = 1;

/** Words of a lock that one thread alone can know: owner, waiting, slot, presence. */
const OWN_WORDS = 4;
const NONE: Int32Array = new Int32Array(0);

/** One lock's words. Keeps nothing but where they are. */
export class LockProtocol {
  readonly #arena: Arena;
  #words: Int32Array = NONE;
  #owner = 0;
  #waiting = 0;
  #slots = 0;
  #presence = 0;
  #stride = 0;
  readonly #kind: Kind;
  readonly #blocks: boolean;

  /** Of the lock at this word of the arena; 0: of one that this thread alone can know. */
  constructor(arena: Arena, at: number, kind: Kind) {
    this.#arena = arena;
    this.#kind = kind;
    this.#blocks = kind === SPIN;
    this.#lieAt(at);
  }

  #lieAt(at: number): void {
    if (at === 0) {
      this.#words = new Int32Array(OWN_WORDS);
      this.#owner = 0;
      this.#waiting = 1;
      this.#slots = 2 - this.#arena.cpu;
      this.#presence = 3;
      this.#stride = 0;
      return;
    }
    this.#words = this.#arena.words;
    this.#owner = at + OWNER;
    this.#waiting = at + WAITING;
    this.#slots = at + LINE;
    this.#presence = at + PRESENCE_LINE[this.#kind] * LINE;
    this.#stride = STRIDE[this.#kind];
  }

  /**
   * Moves them, with all that this CPU has, to a word of the arena, or to words of their own at 0.
   * No other CPU knows the lock, and this one asks for nothing.
   */
  moveTo(at: number, cpu: number): void {
    const owner = Atomics.load(this.#words, this.#owner);
    const hasSides = PRESENCE_LINE[this.#kind] > 0;
    const presence = hasSides ? Atomics.load(this.#words, this.presenceOf(cpu)) : OUT;
    this.#lieAt(at);
    Atomics.store(this.#words, this.#owner, owner);
    if (hasSides) Atomics.store(this.#words, this.presenceOf(cpu), presence);
  }

  /** Whether no other CPU has a side of it, or asks for one; and this one does not ask. */
  isOnlyOf(cpu: number): boolean {
    const waiting = Atomics.load(this.#words, this.#waiting);
    return waiting === 0 && this.isFreeFor(cpu) && this.isDrainedFor(cpu);
  }

  /** The word in which a CPU says whether it asks for the write side. */
  slotOf(cpu: number): number {
    return this.#slots + cpu;
  }

  /** The word in which a CPU says whether it holds the read side. */
  presenceOf(cpu: number): number {
    return this.#presence + cpu * this.#stride;
  }

  /** Whose the write side is, or will be; -1: nobody's. */
  get owner(): number {
    return Atomics.load(this.#words, this.#owner) - 1;
  }

  /** Whether a reader on this CPU, which is present, may be joined by another. */
  isFreeFor(cpu: number): boolean {
    const owner = Atomics.load(this.#words, this.#owner);
    return owner === 0 || owner === cpu + 1;
  }

  /** Whether no other CPU is present. */
  isDrainedFor(cpu: number): boolean {
    if (this.#stride === 0) return true;
    const end = 32 - Math.clz32(this.#arena.joined);
    for (let other = 0; other < end; other++) {
      if (other === cpu) continue;
      if ((Atomics.load(this.#words, this.presenceOf(other)) & (IN | GRANTED)) !== 0) return false;
    }
    return true;
  }

  /** Whether some other CPU may be asking. */
  isWantedBeside(cpu: number): boolean {
    return (Atomics.load(this.#words, this.#waiting) & ~(1 << cpu)) !== 0;
  }

  /** Claims the write side, or finds that it has been granted: true. */
  claim(cpu: number): boolean {
    const owner = Atomics.compareExchange(this.#words, this.#owner, 0, cpu + 1);
    return owner === 0 || owner === cpu + 1;
  }

  /** Asks for the write side; true: it is claimed already. The slot is to be cleared then. */
  askToWrite(cpu: number): boolean {
    this.#ask(cpu);
    return this.claim(cpu);
  }

  #ask(cpu: number): void {
    Atomics.store(this.#words, this.slotOf(cpu), ASKS);
    Atomics.or(this.#words, this.#waiting, 1 << cpu);
  }

  /** Gives the claim on, and asks for it again: it comes back when it has gone round. */
  giveRound(cpu: number): void {
    this.#ask(cpu);
    this.give(cpu);
  }

  /** The claim has come. */
  clearSlot(cpu: number): void {
    Atomics.store(this.#words, this.slotOf(cpu), OUT);
  }

  /** Withdraws that: true. False: it has been granted, owner will name this CPU at once. */
  withdrawWrite(cpu: number): boolean {
    return Atomics.compareExchange(this.#words, this.slotOf(cpu), ASKS, OUT) === ASKS;
  }

  /** This CPU asks for nothing any more. */
  clearWaiting(cpu: number): void {
    Atomics.and(this.#words, this.#waiting, ~(1 << cpu));
  }

  /** Comes in with the claim in hand, or before the claim is looked at. */
  comeIn(cpu: number): void {
    Atomics.store(this.#words, this.presenceOf(cpu), IN);
  }

  /** Comes in if nobody has claimed the write side: true. */
  tryComeIn(cpu: number): boolean {
    if (!this.isFreeFor(cpu)) return false;
    this.comeIn(cpu);
    if (this.isFreeFor(cpu)) return true;
    this.#goOut(cpu, OUT);
    return false;
  }

  /** Whoever has claimed meanwhile may have seen this CPU, and has to look again. */
  #goOut(cpu: number, state: typeof OUT | typeof ASKS): void {
    Atomics.store(this.#words, this.presenceOf(cpu), state);
    this.#wakeOwner(cpu);
  }

  #wakeOwner(cpu: number): void {
    const { owner } = this;
    if (owner !== -1 && owner !== cpu) this.#arena.wake(owner);
  }

  /** Asks to come in, or, if `isIn`, to let more in; true: granted already, and IN. */
  askToRead(cpu: number, isIn: boolean): boolean {
    const asking = isIn ? IN | ASKS : ASKS;
    const presence = this.presenceOf(cpu);
    Atomics.store(this.#words, presence, asking);
    Atomics.or(this.#words, this.#waiting, 1 << cpu);
    while (this.isFreeFor(cpu)) {
      const seen = Atomics.compareExchange(this.#words, presence, asking, IN);
      if (seen !== asking) {
        this.comeIn(cpu);
        return true;
      }
      if (this.isFreeFor(cpu)) return true;
      if (isIn) Atomics.store(this.#words, presence, asking);
      else this.#goOut(cpu, ASKS);
    }
    return false;
  }

  /** Whether what {@link LockProtocol.askToRead} asked has been granted; it is IN then. */
  takeReadGrant(cpu: number): boolean {
    if (Atomics.load(this.#words, this.presenceOf(cpu)) !== GRANTED) return false;
    this.comeIn(cpu);
    return true;
  }

  /** Asks no more to read: true. False: it has been granted, and is IN. */
  withdrawRead(cpu: number, isIn: boolean): boolean {
    const presence = this.presenceOf(cpu);
    const asking = isIn ? IN | ASKS : ASKS;
    const out = isIn ? IN : OUT;
    if (Atomics.compareExchange(this.#words, presence, asking, out) === asking) return true;
    this.comeIn(cpu);
    return false;
  }

  /** The last reader of this CPU leaves: true. False: more were let in meanwhile, and it is IN. */
  leave(cpu: number, asks: boolean): boolean {
    const presence = this.presenceOf(cpu);
    const is = asks ? IN | ASKS : IN;
    if (Atomics.compareExchange(this.#words, presence, is, asks ? ASKS : OUT) !== is) {
      this.comeIn(cpu);
      return false;
    }
    this.#wakeOwner(cpu);
    return true;
  }

  /** Gives the claim on: to all readers that ask and the next writer, or to nobody. */
  give(cpu: number): void {
    for (;;) {
      const waiting = Atomics.load(this.#words, this.#waiting);
      if (waiting !== 0) {
        if (this.#stride > 0) this.#letReadersIn(waiting, cpu);
        const next = this.#grant(waiting, cpu);
        if (next !== -1) {
          this.#passTo(next, cpu);
          return;
        }
      }
      Atomics.store(this.#words, this.#owner, 0);
      if (!this.#isAsked() || !this.#reclaim(cpu)) return;
    }
  }

  #reclaim(cpu: number): boolean {
    return Atomics.compareExchange(this.#words, this.#owner, 0, cpu + 1) === 0;
  }

  /** Whether someone asks, and has not been granted anything yet. */
  #isAsked(): boolean {
    const waiting = Atomics.load(this.#words, this.#waiting);
    for (let left = waiting; left !== 0; left &= left - 1) {
      const cpu = 31 - Math.clz32(left & -left);
      if (Atomics.load(this.#words, this.slotOf(cpu)) === ASKS) return true;
      if (this.#stride === 0) continue;
      if ((Atomics.load(this.#words, this.presenceOf(cpu)) & ASKS) !== 0) return true;
    }
    return false;
  }

  #letReadersIn(waiting: number, by: number): void {
    for (let left = waiting; left !== 0; left &= left - 1) {
      const cpu = 31 - Math.clz32(left & -left);
      const presence = this.presenceOf(cpu);
      // It may go from IN|ASKS to ASKS meanwhile.
      for (;;) {
        const state = Atomics.load(this.#words, presence);
        if ((state & ASKS) === 0) break;
        if (Atomics.compareExchange(this.#words, presence, state, GRANTED) !== state) continue;
        if (cpu !== by) this.#arena.wake(cpu);
        break;
      }
    }
  }

  /** The next one that asks to write, going round from a CPU, which comes last; -1: none. */
  #grant(waiting: number, from: number): number {
    for (let step = 1; step <= 32; step++) {
      const cpu = (from + step) & 31;
      if ((waiting & (1 << cpu)) === 0) continue;
      const seen = Atomics.compareExchange(this.#words, this.slotOf(cpu), ASKS, GRANTED);
      if (seen === ASKS) return cpu;
    }
    return -1;
  }

  #passTo(cpu: number, by: number): void {
    Atomics.store(this.#words, this.#owner, cpu + 1);
    if (this.#blocks) Atomics.notify(this.#words, this.slotOf(cpu));
    if (cpu !== by) this.#arena.wake(cpu);
  }

  /** HandleTable the thread, which asks to write, until the slot changes or the time is over. */
  sleep(cpu: number, ms: number): void {
    Atomics.wait(this.#words, this.slotOf(cpu), ASKS, ms);
  }

  /**
   * Frees or hands on whatever a dead CPU had or waited for.
   *
   * @param by - the CPU that does it
   * @returns whether the dead one had a side
   */
  recover(dead: number, by: number): boolean {
    this.#strikeSlot(dead);
    Atomics.and(this.#words, this.#waiting, ~(1 << dead));
    let had = false;
    if (this.#stride > 0) {
      const state = Atomics.exchange(this.#words, this.presenceOf(dead), OUT);
      had = (state & (IN | GRANTED)) !== 0;
      if (had) this.#wakeOwner(by);
    }
    const owner = Atomics.compareExchange(this.#words, this.#owner, dead + 1, by + 1);
    if (owner === dead + 1) {
      had = true;
      const granted = this.#grantedTo(dead);
      if (granted === -1) this.give(by);
      else this.#passTo(granted, by);
    } else if (owner === 0 && this.#isAsked() && this.#reclaim(by)) {
      // It had set the owner to 0, and did not live to look for those who had asked meanwhile.
      this.give(by);
    }
    return had;
  }

  /** The dead does not ask; if it is being granted the lock just now, it will have been. */
  #strikeSlot(dead: number): void {
    const slot = this.slotOf(dead);
    if (Atomics.compareExchange(this.#words, slot, ASKS, OUT) !== GRANTED) return;
    for (;;) {
      const { owner } = this;
      if (owner === dead || owner === -1 || (this.#arena.joined & (1 << owner)) === 0) break;
      Atomics.wait(this.#words, this.#owner, owner + 1, GLANCE_MS);
    }
    Atomics.store(this.#words, slot, OUT);
  }

  /** To whom a dead owner has granted the lock without having made it the owner; -1: nobody. */
  #grantedTo(dead: number): number {
    for (let left = this.#arena.joined & ~(1 << dead); left !== 0; left &= left - 1) {
      const cpu = 31 - Math.clz32(left & -left);
      if (Atomics.load(this.#words, this.slotOf(cpu)) === GRANTED) return cpu;
    }
    return -1;
  }
}

/*
 * The protocol of one lock between CPUs: its words in shared memory, and the steps that threads take.
 *
 *   owner      the CPU that has claimed the write side, plus 1; 0 if nobody has. A Mutex has only this.
 *   slot       a word per CPU: does it ask for the write side?    OUT -> ASKS -> GRANTED -> OUT
 *   presence   a word per CPU: does it hold the read side, or ask for it?
 *                OUT <-> IN     OUT -> ASKS -> GRANTED -> IN     IN <-> IN|ASKS -> GRANTED -> IN
 *   waiting    a bit per CPU that may be asking, so that a release without waiters is short
 *
 * The protocol knows CPUs, and not the waiters on them. A CPU gets a side of the lock, and lets its own
 * continuations and awaiting code in one after the other (thread-gate.ts).
 *
 *   write: claim     owner 0 -> this CPU. After the claim no reader of another CPU comes in. The side is
 *                    held when no other CPU is present; the last one to leave wakes the owner.
 *   read:  come in   presence := IN, then check that owner is still 0; if it is not, go out again.
 *   ask:             slot (or presence) := ASKS, set the waiting bit, then try once more.
 *   give:            first, every presence that ASKS is GRANTED. Then the next slot that ASKS, in round
 *                    robin order from the giver, is GRANTED, and owner is set to that CPU directly. If
 *                    nobody asks, owner := 0, and check once more whether someone has asked meanwhile.
 *
 * So the CPUs take turns at writing, and waiting readers come in between any two writers: no CPU starves.
 *
 * Correctness. "Ask, then try" runs against "free, then look": at least one of the two sees the other.
 * The same is true of "come in, then check the owner" against "claim, then check who is present". ASKS ->
 * GRANTED and ASKS -> OUT are compareExchanges: a CPU that withdraws is either not granted the side, or
 * learns that it was. Otherwise a CPU's words are written by that CPU only; owner, once it is not 0, is
 * written by the owner only. A CPU whose slot is GRANTED waits until owner names it, so it cannot use the
 * lock and give it away before the giver's last store.
 *
 * If a thread dies between any two stores, another thread can finish its part: owner still names the dead
 * CPU, and the slots show what it has granted (`recover`).
 *
 * RWLock and RMLock differ in one number, the distance between two presence words. Side by side they
 * take little memory, and all readers write the same cache line. A line apart, each reader writes its
 * own cache line, and a writer has to read all of them.
 *
 * A lock that only one thread can know has four words outside of the arena: no other CPU is present, and
 * no CPU asks. The words move to the arena when the lock leaves its thread, and may move back (`moveTo`).
 *
 * Cost: without contention, a compareExchange to claim; a load, a store and a load to give. A hand-over
 * is two stores and a wake-up.
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

/** The distance between the presence words of two CPUs, in words; 0 if the lock has no read side. */
const STRIDE: Readonly<Record<Kind, number>> = { [MUTEX]: 0, [SPIN]: 0, [RW]: 1, [RM]: LINE };
/** The line of the first presence word. An RMLock leaves a line free before it. */
const PRESENCE_LINE: Readonly<Record<Kind, number>> = { [MUTEX]: 0, [SPIN]: 0, [RW]: 3, [RM]: 4 };

/** How long a recovery waits at a time for a store that another thread is about to make, in ms. */
const GLANCE_MS = 1;

/** The words of a lock that only one thread can know: owner, waiting, slot, presence. */
const OWN_WORDS = 4;
const NONE: Int32Array = new Int32Array(0);

/** The protocol of one lock. All its state is in the words; the object only has their indices. */
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

  /** `at`: the first word of the lock in the arena; 0 for a lock that only this thread can know. */
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
   * Moves the words, with the sides that this CPU has, to an index in the arena, or out of it for 0. No
   * other CPU may know the lock, and this CPU must not ask for anything.
   */
  moveTo(at: number, cpu: number): void {
    const owner = Atomics.load(this.#words, this.#owner);
    const hasSides = PRESENCE_LINE[this.#kind] > 0;
    const presence = hasSides ? Atomics.load(this.#words, this.presenceOf(cpu)) : OUT;
    this.#lieAt(at);
    Atomics.store(this.#words, this.#owner, owner);
    if (hasSides) Atomics.store(this.#words, this.presenceOf(cpu), presence);
  }

  /** Whether no other CPU has a side of the lock, and no CPU asks for one. */
  isOnlyOf(cpu: number): boolean {
    const waiting = Atomics.load(this.#words, this.#waiting);
    return waiting === 0 && this.isFreeFor(cpu) && this.isDrainedFor(cpu);
  }

  /** The index of the word in which a CPU says whether it asks for the write side. */
  slotOf(cpu: number): number {
    return this.#slots + cpu;
  }

  /** The index of the word in which a CPU says whether it holds the read side. */
  presenceOf(cpu: number): number {
    return this.#presence + cpu * this.#stride;
  }

  /** The CPU that has claimed the write side; -1 if there is none. */
  get owner(): number {
    return Atomics.load(this.#words, this.#owner) - 1;
  }

  /** Whether readers on a CPU may come in: no other CPU has claimed the write side. */
  isFreeFor(cpu: number): boolean {
    const owner = Atomics.load(this.#words, this.#owner);
    return owner === 0 || owner === cpu + 1;
  }

  /** Whether no other CPU holds the read side. */
  isDrainedFor(cpu: number): boolean {
    if (this.#stride === 0) return true;
    const end = 32 - Math.clz32(this.#arena.joined);
    for (let other = 0; other < end; other++) {
      if (other === cpu) continue;
      if ((Atomics.load(this.#words, this.presenceOf(other)) & (IN | GRANTED)) !== 0) return false;
    }
    return true;
  }

  /** Whether any other CPU may be asking for a side. */
  isWantedBeside(cpu: number): boolean {
    return (Atomics.load(this.#words, this.#waiting) & ~(1 << cpu)) !== 0;
  }

  /** Claims the write side. Returns whether this CPU has it, by this claim or by a grant. */
  claim(cpu: number): boolean {
    const owner = Atomics.compareExchange(this.#words, this.#owner, 0, cpu + 1);
    return owner === 0 || owner === cpu + 1;
  }

  /** Asks for the write side. If it is claimed at once, returns true; then the slot has to be cleared. */
  askToWrite(cpu: number): boolean {
    this.#ask(cpu);
    return this.claim(cpu);
  }

  #ask(cpu: number): void {
    Atomics.store(this.#words, this.slotOf(cpu), ASKS);
    Atomics.or(this.#words, this.#waiting, 1 << cpu);
  }

  /** Passes the claim on and asks for it again: it comes back after the other CPUs have had a turn. */
  giveRound(cpu: number): void {
    this.#ask(cpu);
    this.give(cpu);
  }

  /** Clears the slot after the claim was granted. */
  clearSlot(cpu: number): void {
    Atomics.store(this.#words, this.slotOf(cpu), OUT);
  }

  /** Stops asking for the write side; false if it was granted, and then owner will name this CPU soon. */
  withdrawWrite(cpu: number): boolean {
    return Atomics.compareExchange(this.#words, this.slotOf(cpu), ASKS, OUT) === ASKS;
  }

  /** Clears the waiting bit of a CPU that asks for nothing any more. */
  clearWaiting(cpu: number): void {
    Atomics.and(this.#words, this.#waiting, ~(1 << cpu));
  }

  /** Takes the read side, when this CPU has the claim, or before it checks the claim. */
  comeIn(cpu: number): void {
    Atomics.store(this.#words, this.presenceOf(cpu), IN);
  }

  /** Takes the read side if no other CPU has claimed the write side. */
  tryComeIn(cpu: number): boolean {
    if (!this.isFreeFor(cpu)) return false;
    this.comeIn(cpu);
    if (this.isFreeFor(cpu)) return true;
    this.#goOut(cpu, OUT);
    return false;
  }

  /** Goes out again. A CPU that has claimed meanwhile may have seen this one, and has to look again. */
  #goOut(cpu: number, state: typeof OUT | typeof ASKS): void {
    Atomics.store(this.#words, this.presenceOf(cpu), state);
    this.#wakeOwner(cpu);
  }

  #wakeOwner(cpu: number): void {
    const { owner } = this;
    if (owner !== -1 && owner !== cpu) this.#arena.wake(owner);
  }

  /** Asks for the read side, or, if `isIn`, for more readers. True if granted at once: then it is IN. */
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

  /** Whether what {@link LockProtocol.askToRead} asked for has been granted; then the CPU is IN. */
  takeReadGrant(cpu: number): boolean {
    if (Atomics.load(this.#words, this.presenceOf(cpu)) !== GRANTED) return false;
    this.comeIn(cpu);
    return true;
  }

  /** Stops asking for the read side; false if it was granted, and then the CPU is IN. */
  withdrawRead(cpu: number, isIn: boolean): boolean {
    const presence = this.presenceOf(cpu);
    const asking = isIn ? IN | ASKS : ASKS;
    const out = isIn ? IN : OUT;
    if (Atomics.compareExchange(this.#words, presence, asking, out) === asking) return true;
    this.comeIn(cpu);
    return false;
  }

  /** Gives up the read side; false if more readers were granted it meanwhile, and then the CPU is IN. */
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

  /** Gives up the claim: lets in all readers that ask, and passes it to the next CPU that asks to write. */
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

  /** Whether any CPU asks for a side and has not been granted it. */
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
      // A loop, because the state may change from IN|ASKS to ASKS meanwhile.
      for (;;) {
        const state = Atomics.load(this.#words, presence);
        if ((state & ASKS) === 0) break;
        if (Atomics.compareExchange(this.#words, presence, state, GRANTED) !== state) continue;
        if (cpu !== by) this.#arena.wake(cpu);
        break;
      }
    }
  }

  /** Grants the write side to the next CPU that asks, in round robin order after `from`; -1: none asks. */
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

  /** Blocks the thread, which asks for the write side, until the slot changes or the time is over. */
  sleep(cpu: number, ms: number): void {
    Atomics.wait(this.#words, this.slotOf(cpu), ASKS, ms);
  }

  /**
   * Frees or passes on what a dead CPU had or waited for.
   *
   * @param by - the CPU that does this
   * @returns whether the dead CPU had a side of the lock
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
      // The dead CPU had set the owner to 0, and had not checked yet whether others asked meanwhile.
      this.give(by);
    }
    return had;
  }

  /** Clears the slot of a dead CPU. If the lock is just being granted to it, waits for that to end. */
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

  /** The CPU to which a dead owner has granted the lock without making it the owner; -1: there is none. */
  #grantedTo(dead: number): number {
    for (let left = this.#arena.joined & ~(1 << dead); left !== 0; left &= left - 1) {
      const cpu = 31 - Math.clz32(left & -left);
      if (Atomics.load(this.#words, this.slotOf(cpu)) === GRANTED) return cpu;
    }
    return -1;
  }
}

/*
 * The gate of one thread to a lock between CPUs: what the thread has of the lock, and who waits there.
 *
 *        words of the lock (protocol.ts)
 *              |  claimed, present: what this CPU has; asks: what it has asked for
 *        ThreadGate of this thread: writing, readers: who holds it here
 *              |
 *        Turnstile: continuations and awaiting code, as at a local lock
 *
 * There is one ThreadGate per lock and thread, however often the lock arrives by structured clone. So all
 * waiters on one thread are in one turnstile, ordered by priority and then first come, first served.
 * Between CPUs there are no priorities: they take turns.
 *
 * `balance` is called after every change here, and when the thread is woken. It compares what the CPU has
 * with what the next waiter in the turnstile wants, and then it
 *
 *     takes notice     of what has been granted meanwhile
 *     withdraws        a request for a waiter that has left
 *     asks             for what the next waiter wants
 *     wakes            the next waiter if it can have its side
 *     gives up         what nobody on this thread wants any more
 *
 * until there is nothing left to do. Nothing else asks, wakes or gives up, so every path through the lock
 * ends in the same state: the CPU keeps a side only while it is held here, or while the next waiter here
 * is about to take it.
 *
 * A hand-over within the thread costs a tenth of a hand-over to another thread. So when other CPUs wait,
 * up to {@link LOCAL_HAND_OVERS} hand-overs go to local waiters first, and then the lock is passed on.
 * This bounds how long another CPU waits: for that many holders per CPU that asks.
 *
 * An heir (a continuation that was woken and has not been dispatched yet) keeps the side for its CPU. It
 * will be dispatched within a pass. Otherwise a lock that other CPUs want often would never be free at
 * the moment of the dispatch.
 *
 * All readers that were waiting when the CPU came in may come in, even after a writer on another CPU has
 * claimed the lock. Readers that arrive later may not.
 *
 * A word that another CPU may change at any moment is read once per step, and that value is used. If a
 * second read saw another value, the step could wait for a wake-up that has already been delivered.
 *
 * A lock gets memory in the arena when it is sent in a value. It gives the memory back when no value that
 * was sent may still be read, and no other thread is attached; after jobs that were aborted, at once.
 *
 * Limitation: a CPU whose turn it is and whose thread is blocked is not skipped. The others wait until
 * that thread is back in its event loop, or dead.
 */

import { Kcont } from '../../core/kcont.ts';
import { after, stamp, type Entry } from '../../base/ordered-list.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { Turnstile, type Waiter } from '../../locks/turnstile.ts';
import type { Arena, Kind, Listener } from './arena.ts';
import { LockProtocol } from './protocol.ts';

/** The most hand-overs within a thread before another CPU that waits gets its turn. */
export const LOCAL_HAND_OVERS = 16;

/** A place in the order of sequence numbers. */
class Mark implements Entry {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
}

/** How often a spinning thread tries a lock of another CPU: for 2 or 3 µs, less than a hand-over. */
const SPINS = 1000;
/** The longest sleep of a blocking thread before it tries again, in ms. */
const SLEEP_MS = 1;

/** One thread's gate to a lock. */
export class ThreadGate implements Listener {
  readonly arena: Arena;
  /** The index of the lock in the arena; 0 while only this thread can know the lock. */
  at: number;
  readonly kind: Kind;
  /** The waiters on this thread; made when there is a waiter for the first time. */
  turnstile: Turnstile | null = null;
  /** The user's object: the lock, or both its sides. */
  lock: object | null = null;
  /** The read side, if there is one. A waiter for any other object wants to write. */
  reader: BaseLock | null = null;
  /** The write side is held on this thread. */
  writing = false;
  /** The number of holders of the read side on this thread. */
  readers = 0;

  readonly #protocol: LockProtocol;
  readonly #cpu: number;
  /** The number of values with this lock that this thread has sent and that may still be read. */
  #sent = 0;
  /** This CPU has claimed the write side. */
  #claimed = false;
  /** This CPU has the read side. */
  #present = false;
  #asksToWrite = false;
  #asksToRead = false;
  #handOvers = 0;
  /** Readers that were waiting before this mark may come in. */
  readonly #admitted = new Mark();
  /** The number of waiters that are awaiting code. Continuations keep their thread alive by themselves. */
  #awaiting = 0;
  #listening = false;
  #keepsAlive = false;

  constructor(arena: Arena, at: number, kind: Kind) {
    this.arena = arena;
    this.at = at;
    this.kind = kind;
    this.#protocol = new LockProtocol(arena, at, kind);
    this.#cpu = arena.cpu;
  }

  /**
   * Gives the lock memory in the arena, where other threads can find it. Returns its index.
   *
   * @throws KcontError ENOMEM if the arena is full
   */
  share(): number {
    const { arena, kind } = this;
    if (this.at !== 0) return this.at;
    const at = arena.allocate(kind);
    this.#protocol.moveTo(at, this.#cpu);
    this.at = at;
    arena.attach(at, this);
    return at;
  }

  /** Counts a value with this lock in it that is being sent. */
  send(): void {
    this.share();
    this.#sent++;
  }

  /** Counts that such a value has been read, or will never be read. */
  endSend(): void {
    this.#sent--;
    this.unshare();
  }

  /** Gives the memory back if only this thread can know the lock. */
  unshare(): void {
    const { arena, at } = this;
    if (at === 0 || this.#sent > 0 || !this.#protocol.isOnlyOf(this.#cpu) || !arena.takeLast(at))
      return;
    this.#protocol.moveTo(0, this.#cpu);
    this.at = 0;
    arena.freeLast(at);
  }

  /** Whether the write side is held, here or on another CPU. */
  get written(): boolean {
    if (this.writing) return true;
    const { owner } = this.#protocol;
    return owner !== -1 && owner !== this.#cpu && this.#protocol.isDrainedFor(owner);
  }

  /** Whether the read side is held, here or on another CPU. */
  get read(): boolean {
    return this.readers > 0 || !this.#protocol.isDrainedFor(this.#cpu);
  }

  /** Whether this CPU has claimed the write side and can take it now. */
  get writable(): boolean {
    return (
      this.#claimed && !this.writing && this.readers === 0 && this.#protocol.isDrainedFor(this.#cpu)
    );
  }

  /** Whether the best waiter, which wants to read, can take the read side now. */
  get readable(): boolean {
    const best = this.turnstile?.best;
    return best !== undefined && this.#admits(best);
  }

  /** Takes the write side; false if it is held, or claimed by another CPU. */
  tryWrite(): boolean {
    if (this.writing || this.readers > 0) return false;
    if (!this.#claimed) {
      // Checked first, because a claim in vain would hold up readers on other CPUs.
      if (!this.#protocol.isDrainedFor(this.#cpu) || !this.#protocol.claim(this.#cpu)) return false;
      this.#claimIsHere();
    }
    if (this.#protocol.isDrainedFor(this.#cpu)) {
      this.writing = true;
      return true;
    }
    this.balance();
    return false;
  }

  /** Takes the read side; false if a writer holds the lock or has claimed it. */
  tryRead(): boolean {
    if (this.writing) return false;
    if (this.#claimed) {
      this.#comeIn();
      this.readers++;
      this.balance();
      return true;
    }
    if (this.#present) {
      if (!this.#protocol.isFreeFor(this.#cpu)) return false;
    } else if (this.#asksToRead || !this.#protocol.tryComeIn(this.#cpu)) return false;
    else this.#isPresent();
    this.readers++;
    return true;
  }

  /** The same for a continuation that is being dispatched. */
  tryReadFor(waiter: Waiter): boolean {
    if (!this.tryRead()) {
      if (this.writing || !this.#admits(waiter)) return false;
      this.readers++;
    }
    return true;
  }

  /** Records a writer that the turnstile has let in. */
  write(): void {
    this.writing = true;
  }

  /** Records a reader that the turnstile has let in. */
  addReader(): void {
    this.#comeIn();
    this.readers++;
  }

  /** Releases the write side. */
  endWrite(): void {
    this.writing = false;
    if (this.#isDeserted) this.#give();
    else this.#passOn();
  }

  /** Releases the read side, for one reader. */
  endRead(): void {
    if (--this.readers > 0) this.turnstile?.promote();
    else if (this.#isDeserted && !this.#claimed) this.#goOut();
    else this.#passOn();
  }

  #passOn(): void {
    this.turnstile?.promote();
    this.balance();
  }

  /** Whether nobody waits on this thread, and it has asked for nothing. */
  get #isDeserted(): boolean {
    if (this.#listening) return false;
    const { turnstile } = this;
    return turnstile === null || (turnstile.heir === null && turnstile.best === undefined);
  }

  /** Whether a newcomer of this priority has to queue behind those that wait already. */
  mustQueue(priority: number): boolean {
    const { turnstile } = this;
    if (turnstile === null) return false;
    return turnstile.heirGoesBefore(priority) || turnstile.bestGoesBefore(priority);
  }

  /** Whether a waiter goes before a continuation that is being dispatched. */
  bestOutranks(waiter: Waiter): boolean {
    const { turnstile } = this;
    return (
      turnstile !== null && (turnstile.mustLeaveToHeir(waiter) || turnstile.bestOutranks(waiter))
    );
  }

  /** Records that a continuation has taken its side. */
  hasTaken(waiter: Waiter): void {
    const { turnstile } = this;
    if (turnstile === null) return;
    turnstile.hasTaken(waiter, waiter._priority);
    // After a reader, other readers may come in.
    if (!this.writing) this.balance();
  }

  /** Adds a waiter. */
  wait(waiter: Waiter, since: number): void {
    if (!(waiter instanceof Kcont)) this.#awaiting++;
    (this.turnstile ??= new Turnstile()).add(waiter, since);
    this.balance();
  }

  /** Records that awaiting code has been let in. */
  hasEntered(): void {
    this.#awaiting--;
  }

  /** Removes a waiter or an heir that does not want the lock any more. */
  leave(waiter: Waiter): void {
    const { turnstile } = this;
    if (turnstile === null) return;
    if (!(waiter instanceof Kcont)) this.#awaiting--;
    turnstile.remove(waiter);
    this.balance();
  }

  /** Tries for a few µs to take the write side while another CPU has it. */
  spin(): boolean {
    if (this.writing) return false;
    for (let looks = 0; looks < SPINS; looks++) {
      const { owner } = this.#protocol;
      if ((owner === -1 || owner === this.#cpu) && this.tryWrite()) return true;
    }
    return false;
  }

  /**
   * Takes the write side, and blocks the thread until then or until the time is over. Blocking code goes
   * before all waiters on its thread, because they cannot run while the thread is blocked.
   *
   * @returns whether the write side is held
   */
  block(nowMs: () => number, untilMs: number): boolean {
    const asked = this.#asksToWrite;
    if (!asked) this.#protocol.askToWrite(this.#cpu);
    this.#asksToWrite = true;
    while (!this.#protocol.claim(this.#cpu)) {
      const leftMs = untilMs - nowMs();
      if (leftMs > 0) this.#protocol.sleep(this.#cpu, Math.min(leftMs, SLEEP_MS));
      else if (asked) return false;
      else if (this.#protocol.withdrawWrite(this.#cpu)) {
        this.#hasAskedToWrite();
        return false;
      }
    }
    this.#claimIsHere();
    this.writing = true;
    return true;
  }

  /** Brings what this CPU has in line with what its waiters want: see the head of this file. */
  balance(): void {
    while (this.#step());
    // Not read again: if the last reader on another CPU has left by now, its wake-up is on the way.
    const drains = this.#claimed && !this.writing && this.turnstile?.heir === null;
    const listens = this.#asksToWrite || this.#asksToRead || drains;
    if (listens !== this.#listening) {
      this.#listening = listens;
      this.arena.listen(this, listens);
    }
    const keepsAlive = listens && this.#awaiting > 0;
    if (keepsAlive === this.#keepsAlive) return;
    this.#keepsAlive = keepsAlive;
    this.arena.keepAlive(keepsAlive);
  }

  /** Does one step. Returns whether there may be more to do. */
  #step(): boolean {
    this.#takeNotice();
    const next = this.#next();
    const toRead = next !== undefined && next._lock === this.reader;
    const toWrite = next !== undefined && !toRead;
    this.#withdraw(toWrite, toRead);
    if (toWrite) this.#askToWrite();
    if (toRead) this.#askToRead(next);
    if (next !== undefined && this.#isToBeWoken(next)) {
      if (!toWrite || !this.#hasHadItsShare()) {
        (this.turnstile as Turnstile).wake();
        return true;
      }
      this.#claimed = false;
      this.#asksToWrite = true;
      this.#protocol.giveRound(this.#cpu);
      return true;
    }
    if (this.#claimed && !this.writing && !toWrite) {
      if (toRead) this.#comeIn();
      this.#give();
    }
    if (this.#present && this.readers === 0 && !(toRead && this.#isAdmitted(next))) {
      return !this.#goOut();
    }
    return false;
  }

  #takeNotice(): void {
    if (this.#asksToWrite && this.#protocol.owner === this.#cpu) this.#claimIsHere();
    if (this.#asksToRead && this.#protocol.takeReadGrant(this.#cpu)) this.#readIsGranted();
  }

  /** The next waiter on this thread: the heir, unless a waiter goes before it. */
  #next(): Waiter | undefined {
    const { turnstile } = this;
    if (turnstile === null) return undefined;
    const { heir } = turnstile;
    return heir === null || turnstile.bestOutranks(heir) ? turnstile.best : heir;
  }

  #withdraw(toWrite: boolean, toRead: boolean): void {
    // A side that was granted already arrives, and is passed on then.
    if (this.#asksToWrite && !toWrite && this.#protocol.withdrawWrite(this.#cpu)) {
      this.#hasAskedToWrite();
    }
    if (this.#asksToRead && !toRead) {
      if (this.#protocol.withdrawRead(this.#cpu, this.#present)) this.#hasAskedToRead();
      else this.#readIsGranted();
    }
  }

  #askToWrite(): void {
    if (this.#claimed || this.#asksToWrite) return;
    if (this.#protocol.claim(this.#cpu) || this.#protocol.askToWrite(this.#cpu)) {
      // The slot may say ASKS, so claimIsHere has to clear it.
      this.#asksToWrite = true;
      this.#claimIsHere();
    } else this.#asksToWrite = true;
  }

  #askToRead(next: Waiter): void {
    if (this.#asksToRead || this.#isAdmitted(next)) return;
    // Read once: a writer that claims the lock from now on waits for those that are waiting now.
    if (this.#present ? this.#protocol.isFreeFor(this.#cpu) : this.#protocol.tryComeIn(this.#cpu)) {
      this.#isPresent();
      return;
    }
    this.#asksToRead = true;
    if (this.#protocol.askToRead(this.#cpu, this.#present)) this.#readIsGranted();
  }

  /** Whether the next waiter is not the heir already, and can have its side. */
  #isToBeWoken(next: Waiter): boolean {
    return next !== this.turnstile?.heir && next._lock?._open === true;
  }

  /** Counts a hand-over on this thread. Returns whether it is the turn of another CPU. */
  #hasHadItsShare(): boolean {
    return ++this.#handOvers > LOCAL_HAND_OVERS && this.#protocol.isWantedBeside(this.#cpu);
  }

  /** Whether a reader may come in with what this CPU has. */
  #admits(waiter: Waiter): boolean {
    if (this.writing) return false;
    return this.#isAdmitted(waiter) || (this.#present && this.#protocol.isFreeFor(this.#cpu));
  }

  /** Whether a reader may come in whatever other CPUs do meanwhile. */
  #isAdmitted(waiter: Waiter): boolean {
    if (this.#claimed) return true;
    if (!this.#present) return false;
    if (waiter === this.turnstile?.heir) return true;
    return waiter._hasWaited && !after(waiter, this.#admitted);
  }

  #claimIsHere(): void {
    this.#claimed = true;
    this.#handOvers = 0;
    if (!this.#asksToWrite) return;
    this.#protocol.clearSlot(this.#cpu);
    this.#hasAskedToWrite();
  }

  #hasAskedToWrite(): void {
    this.#asksToWrite = false;
    if (!this.#asksToRead) this.#protocol.clearWaiting(this.#cpu);
  }

  #hasAskedToRead(): void {
    this.#asksToRead = false;
    if (!this.#asksToWrite) this.#protocol.clearWaiting(this.#cpu);
  }

  #readIsGranted(): void {
    this.#hasAskedToRead();
    this.#isPresent();
  }

  #isPresent(): void {
    this.#present = true;
    stamp(this.#admitted);
  }

  /** Takes the read side while this CPU has the claim. */
  #comeIn(): void {
    if (this.#present) return;
    if (this.#asksToRead) this.#hasAskedToRead();
    this.#protocol.comeIn(this.#cpu);
    this.#isPresent();
  }

  /** Gives up the read side; false if more readers were granted it meanwhile. */
  #goOut(): boolean {
    if (this.#protocol.leave(this.#cpu, this.#asksToRead)) {
      this.#present = false;
      return true;
    }
    this.#readIsGranted();
    return false;
  }

  #give(): void {
    this.#claimed = false;
    this.#protocol.give(this.#cpu);
  }
}

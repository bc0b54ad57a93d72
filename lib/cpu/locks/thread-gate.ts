/*
 * What one thread has of a lock between CPUs, and who waits for it there.
 *
 *        words of the lock (shared-words.ts)
 *              |  claimed, present: what this CPU has; asks: what it has asked for
 *        ThreadGate of this thread: writing, readers: who holds it here
 *              |
 *        Turnstile: continuations and awaiting code, as at a local lock
 *
 * There is one ThreadGate per lock and thread, whatever came by structured clone: so all who want a lock on
 * one thread stand in one turnstile, by priority and first come first served. Between CPUs nothing is
 * known of priorities: they take turns.
 *
 * `balance` is called after whatever changes something here, and when the bell has rung. It compares
 * what the CPU has with what the next one in the turnstile wants, and
 *
 *     takes notice     of what has been granted meanwhile
 *     withdraws        what was asked for one who has gone
 *     asks             for what the next one wants
 *     wakes            the next one if it can have it
 *     gives up         what nobody here wants any more
 *
 * until nothing is left to do. Nothing else asks, wakes or gives up, so that every path through the
 * lock ends in the same state: the CPU keeps a side only while it is held here, or while the next one
 * here is about to take it.
 *
 * A hand-over within the thread costs a tenth of one to another. So when others wait, up to
 * {@link LOCAL_HAND_OVERS} go to waiters here first; then the lock goes round. That is the bound on
 * how long another CPU waits: for as many holders per CPU that is asking.
 *
 * An heir (a continuation that was woken, and is not dispatched yet) keeps the side for its CPU: its
 * dispatch is due within a pass, and without it a lock that is much wanted elsewhere would never be
 * free at the moment of the dispatch.
 *
 * Readers who waited when the CPU came in may all come in, also after a writer elsewhere has claimed;
 * those who come later may not.
 *
 * What another CPU may change at any moment is looked at once per step, and what was seen is kept: a
 * second look that saw something else would wait for a bell that has rung in between.
 *
 * A lock takes memory in the arena when something is sent that names it, and gives it up when nothing
 * that was sent may still have to be read, and no other thread is attached: after jobs that were
 * aborted, at once.
 *
 * What it does not do: it does not pass over a CPU whose turn it is and whose thread is blocked. The
 * others wait until that thread is back in its event loop, or dead.
 */

import { Kcont } from '../../core/kcont.ts';
import { after, stamp, type Entry } from '../../base/ordered-list.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { Turnstile, type Waiter } from '../../locks/turnstile.ts';
import type { Arena, Kind, Listener } from './arena.ts';
import { LockProtocol } from './protocol.ts';

/** Hand-overs within a thread before another CPU that waits has its turn. */
export const LOCAL_HAND_OVERS = 16;

/** A place in the order of sequence numbers. */
class Mark implements Entry {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
}

/** Looks at a lock of another CPU before it is given up: 2 or 3 µs, less than a hand-over. */
const SPINS = 1000;
/** Longest sleep of a thread that blocks, in ms: it then looks by itself. */
const SLEEP_MS = 1;

/** One thread's part of a lock. */
export class ThreadGate implements Listener {
  readonly arena: Arena;
  /** Where the lock is in the arena; 0: it is not there, for this thread alone can know it. */
  at: number;
  readonly kind: Kind;
  /** Whoever waits on this thread; made when somebody does for the first time. */
  turnstile: Turnstile | null = null;
  /** What users have of it: a lock, or both its sides. */
  lock: object | null = null;
  /** The read side, if there is one: waiters of any other lock want to write. */
  reader: BaseLock | null = null;
  /** Somebody on this thread holds the write side. */
  writing = false;
  /** How many on this thread hold the read side. */
  readers = 0;

  readonly #protocol: LockProtocol;
  readonly #cpu: number;
  /** How many may have to find it by what this thread has sent. */
  #sent = 0;
  /** The owner is this CPU. */
  #claimed = false;
  /** This CPU is present. */
  #present = false;
  #asksToWrite = false;
  #asksToRead = false;
  #handOvers = 0;
  /** Readers that waited by then may come in. */
  readonly #admitted = new Mark();
  /** Code that awaits; continuations see for themselves that their thread stays alive. */
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
   * Gives it memory in the arena, where other threads can find it. Returns where.
   *
   * @throws KcontError ENOMEM if there is none
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

  /** Something is sent that names it. */
  send(): void {
    this.share();
    this.#sent++;
  }

  /** That has been read, or never will be. */
  endSend(): void {
    this.#sent--;
    this.unshare();
  }

  /** Gives its memory back, if this thread alone can know it again. */
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

  /** Whether the write side is this CPU's, and could be taken. */
  get writable(): boolean {
    return (
      this.#claimed && !this.writing && this.readers === 0 && this.#protocol.isDrainedFor(this.#cpu)
    );
  }

  /** Whether the best waiter, who wants to read, could. */
  get readable(): boolean {
    const best = this.turnstile?.best;
    return best !== undefined && this.#admits(best);
  }

  /** Takes the write side: true. False: it is held, or claimed by another CPU. */
  tryWrite(): boolean {
    if (this.writing || this.readers > 0) return false;
    if (!this.#claimed) {
      // A look that spares the readers elsewhere a claim that comes to nothing.
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

  /** Takes the read side: true. False: a writer holds or has claimed it. */
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

  /** The same for a continuation that is dispatched. */
  tryReadFor(waiter: Waiter): boolean {
    if (!this.tryRead()) {
      if (this.writing || !this.#admits(waiter)) return false;
      this.readers++;
    }
    return true;
  }

  /** Notes a writer whom the turnstile has let in. */
  write(): void {
    this.writing = true;
  }

  /** Notes a reader whom the turnstile has let in. */
  addReader(): void {
    this.#comeIn();
    this.readers++;
  }

  /** The writer leaves. */
  endWrite(): void {
    this.writing = false;
    if (this.#isDeserted) this.#give();
    else this.#passOn();
  }

  /** A reader leaves. */
  endRead(): void {
    if (--this.readers > 0) this.turnstile?.promote();
    else if (this.#isDeserted && !this.#claimed) this.#goOut();
    else this.#passOn();
  }

  #passOn(): void {
    this.turnstile?.promote();
    this.balance();
  }

  /** Nobody waits here, and nothing has been asked for. */
  get #isDeserted(): boolean {
    if (this.#listening) return false;
    const { turnstile } = this;
    return turnstile === null || (turnstile.heir === null && turnstile.best === undefined);
  }

  /** Whether a newcomer of this priority, who may wait, has to do so behind those who do. */
  mustQueue(priority: number): boolean {
    const { turnstile } = this;
    if (turnstile === null) return false;
    return turnstile.goesBefore(priority) || turnstile.queuesBefore(priority);
  }

  /** Whether somebody who waits goes before a continuation that is dispatched. */
  outranks(waiter: Waiter): boolean {
    const { turnstile } = this;
    return turnstile !== null && (turnstile.isKeptFrom(waiter) || turnstile.outranks(waiter));
  }

  /** A continuation has taken its side. */
  hasTaken(waiter: Waiter): void {
    const { turnstile } = this;
    if (turnstile === null) return;
    turnstile.hasTaken(waiter, waiter._priority);
    // Readers follow a reader.
    if (!this.writing) this.balance();
  }

  /** Queues up. */
  wait(waiter: Waiter, since: number): void {
    if (!(waiter instanceof Kcont)) this.#awaiting++;
    (this.turnstile ??= new Turnstile()).add(waiter, since);
    this.balance();
  }

  /** Awaiting code has been let in. */
  hasEntered(): void {
    this.#awaiting--;
  }

  /** Somebody who was runnable, or waits, does not want the lock any more. */
  leave(waiter: Waiter): void {
    const { turnstile } = this;
    if (turnstile === null) return;
    if (!(waiter instanceof Kcont)) this.#awaiting--;
    turnstile.remove(waiter);
    this.balance();
  }

  /** Looks for the write side, which another CPU has, for a few µs. */
  spin(): boolean {
    if (this.writing) return false;
    for (let looks = 0; looks < SPINS; looks++) {
      const { owner } = this.#protocol;
      if ((owner === -1 || owner === this.#cpu) && this.tryWrite()) return true;
    }
    return false;
  }

  /**
   * Takes the write side, and blocks the thread until it has it or the time is over. Code that blocks
   * goes before all that waits aside on its thread: that could not run meanwhile.
   *
   * @returns whether it holds it
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

  /** Does whatever there is to be done now: see above. */
  balance(): void {
    while (this.#step());
    // Not looked at again: if the last reader elsewhere has left by now, its ring is on the way.
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

  /** Whether there may be more to do. */
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

  /** Who is next on this thread: the heir, unless a better one has come. */
  #next(): Waiter | undefined {
    const { turnstile } = this;
    if (turnstile === null) return undefined;
    const { heir } = turnstile;
    return heir === null || turnstile.outranks(heir) ? turnstile.best : heir;
  }

  #withdraw(toWrite: boolean, toRead: boolean): void {
    // What has been granted already comes, and is given on.
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
      // The slot may say that it asks.
      this.#asksToWrite = true;
      this.#claimIsHere();
    } else this.#asksToWrite = true;
  }

  #askToRead(next: Waiter): void {
    if (this.#asksToRead || this.#isAdmitted(next)) return;
    // Looked at once: a writer who claims from now on waits for those who wait now.
    if (this.#present ? this.#protocol.isFreeFor(this.#cpu) : this.#protocol.tryComeIn(this.#cpu)) {
      this.#isPresent();
      return;
    }
    this.#asksToRead = true;
    if (this.#protocol.askToRead(this.#cpu, this.#present)) this.#readIsGranted();
  }

  /** Whether the next one is not the heir already, and could have its side. */
  #isToBeWoken(next: Waiter): boolean {
    return next !== this.turnstile?.heir && next._lock?._open === true;
  }

  /** One more hand-over on this thread: whether it is the turn of another CPU. */
  #hasHadItsShare(): boolean {
    return ++this.#handOvers > LOCAL_HAND_OVERS && this.#protocol.isWantedBeside(this.#cpu);
  }

  /** Whether this one may come in on what the CPU has. */
  #admits(waiter: Waiter): boolean {
    if (this.writing) return false;
    return this.#isAdmitted(waiter) || (this.#present && this.#protocol.isFreeFor(this.#cpu));
  }

  /** The same, whatever other CPUs do meanwhile. */
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

  /** Comes in with the claim in hand. */
  #comeIn(): void {
    if (this.#present) return;
    if (this.#asksToRead) this.#hasAskedToRead();
    this.#protocol.comeIn(this.#cpu);
    this.#isPresent();
  }

  /** Leaves: true. False: more have been let in meanwhile. */
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

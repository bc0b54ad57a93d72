// The least that dispatching by priority can cost: intrusive lists, a bitmap of eight levels, two state
// bits, one call. No try, lock, limit, promise, counter, budget or stop.

const QUEUED = 1;
const RUNNING = 2;
const LEVELS = 8;

/** A job that is made once and scheduled many times. */
export class BareJob<A> {
  state = 0;
  next: BareJob<A> | null = null;
  prev: BareJob<A> | null = null;
  readonly level: number;
  readonly func: (arg: A) => void;
  readonly arg: A;

  /** Level 0 is the highest. */
  constructor(level: number, func: (arg: A) => void, arg: A) {
    this.level = level;
    this.func = func;
    this.arg = arg;
  }
}

/** Calls what has been scheduled from one immediate, highest level first, first come first served. */
export class BareDispatcher<A> {
  readonly #heads: (BareJob<A> | null)[] = Array.from({ length: LEVELS }, () => null);
  readonly #tails: (BareJob<A> | null)[] = Array.from({ length: LEVELS }, () => null);
  #occupied = 0;
  #requested = false;
  readonly #pass = (): void => {
    this.#requested = false;
    while (this.#occupied !== 0) this.#dispatch();
  };

  schedule(job: BareJob<A>): void {
    if (job.state !== 0) return;
    job.state = QUEUED;
    const { level } = job;
    const last = this.#tails[level] as BareJob<A> | null;
    job.prev = last;
    if (last === null) {
      this.#heads[level] = job;
      this.#occupied |= 1 << level;
    } else last.next = job;
    this.#tails[level] = job;
    if (this.#requested) return;
    this.#requested = true;
    setImmediate(this.#pass);
  }

  #dispatch(): void {
    const level = 31 - Math.clz32(this.#occupied & -this.#occupied);
    const job = this.#heads[level] as BareJob<A>;
    const { next } = job;
    this.#heads[level] = next;
    if (next === null) {
      this.#tails[level] = null;
      this.#occupied &= ~(1 << level);
    } else next.prev = null;
    job.next = null;
    job.state = RUNNING;
    job.func(job.arg);
    job.state = 0;
  }
}

// The same "random" numbers in every run: a xorshift of 32 bits.

export class Random {
  #state: number;

  constructor(seed: number = 1) {
    this.#state = (seed * 2654435761) | 1;
  }

  /** A whole number from 0 up to, not including, n. */
  below(n: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return Math.floor(((x >>> 0) / 2 ** 32) * n);
  }
}

/** 0 … n-1 in random order. */
export function permutation(n: number, seed: number = 1): Uint32Array {
  const random = new Random(seed);
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const other = order[j] as number;
    order[j] = order[i] as number;
    order[i] = other;
  }
  return order;
}

/** All of a population, in random order, again and again. */
export class Round {
  readonly #order: Uint32Array;
  #at = 0;

  constructor(count: number) {
    this.#order = permutation(count);
  }

  next(): number {
    if (this.#at === this.#order.length) this.#at = 0;
    return this.#order[this.#at++] as number;
  }
}

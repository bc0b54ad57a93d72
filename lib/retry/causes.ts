/*
 * The errors of earlier attempts, as causes of the last one.
 *
 *   error of attempt 3  -- cause -->  error of attempt 2  -- cause -->  error of attempt 1
 *
 * An error that has a cause of its own keeps it: the earlier attempt is the cause at the end of its chain. The
 * errors belong to the user. One that is thrown again, cannot be extended, or is not an object, is left as it is.
 */

/** How many earlier errors are kept: attempts may go on for ever. */
const KEPT = 10;
/** How many causes of one error are followed. */
const FOLLOWED = 100;

/**
 * The errors of a series of attempts, the latest ones only.
 *
 * @internal
 */
export class AttemptErrors {
  readonly #errors: unknown[] = [];

  /** The errors, the earliest first. */
  get all(): readonly unknown[] {
    return this.#errors;
  }

  add(error: unknown): void {
    if (this.#errors.length > KEPT) this.#errors.shift();
    this.#errors.push(error);
  }

  /** Makes each error the cause of the one after it. */
  link(): void {
    for (let i = this.#errors.length - 1; i > 0; i--) {
      append(this.#errors[i], this.#errors[i - 1]);
    }
  }
}

function append(error: unknown, earlier: unknown): void {
  try {
    let last = error;
    for (let i = 0; i < FOLLOWED; i++) {
      if (!(last instanceof Error) || last === earlier || reaches(earlier, last)) return;
      if (last.cause === undefined) {
        const hidden = { configurable: true, writable: true, enumerable: false };
        Object.defineProperty(last, 'cause', { ...hidden, value: earlier });
        return;
      }
      last = last.cause;
    }
  } catch {
    // The error is frozen, or a proxy or getter throws.
  }
}

/** Whether the causes of an error lead to another one. */
function reaches(from: unknown, to: unknown): boolean {
  let at = from;
  for (let i = 0; i < FOLLOWED && at instanceof Error; i++) {
    if (at === to) return true;
    at = at.cause;
  }
  return false;
}

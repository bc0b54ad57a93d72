/*
 * Which looks for a job go to the database at the same time.
 *
 * The statement with which graphile-worker looks for a job locks the rows of all locks that are free until it is
 * committed. A look at the same time skips these rows, finds none of their jobs, and its worker sleeps; so of ten
 * looks nine would be wasted, and each goes through all locks.
 *
 *   the last job that was found     looks at a time
 *   one of a lock                   one
 *   one without a lock              all that are asked for
 *
 * When a look finds nothing, those that were waiting when it began, and ask the same, have their answer.
 *
 * Source: strategy 2 in sql/getJobs of graphile-worker 0.17.
 */

/** What a look returns: the rows of jobs. */
export interface Found {
  readonly rows: readonly { readonly job_queue_id?: unknown }[];
}

interface Waiting<T> {
  readonly question: string;
  readonly ask: () => Promise<T>;
  readonly resolve: (found: T) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The looks of a worker.
 *
 * @internal
 */
export class Looks<T extends Found> {
  #open = 0;
  #oneAtATime = true;
  #waiting: Waiting<T>[] = [];

  /**
   * Looks for a job, when it may.
   *
   * @param question - equal for looks that can share an answer
   * @param ask - executes the statement
   */
  look(question: string, ask: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ question, ask, resolve, reject });
      this.#begin();
    });
  }

  #begin(): void {
    while (this.#waiting.length > 0 && (this.#open === 0 || !this.#oneAtATime)) {
      const look = this.#waiting.shift() as Waiting<T>;
      // Nobody leaves the queue before this look has ended, unless nobody has to wait.
      const behind = this.#waiting.length;
      this.#open++;
      void this.#run(look, behind);
    }
  }

  async #run(look: Waiting<T>, behind: number): Promise<void> {
    try {
      this.#found(look, await look.ask(), behind);
    } catch (error) {
      look.reject(error);
    }
    this.#open--;
    this.#begin();
  }

  #found(look: Waiting<T>, found: T, behind: number): void {
    look.resolve(found);
    const last = found.rows.at(-1);
    if (last !== undefined) {
      this.#oneAtATime = (last.job_queue_id ?? null) !== null;
      return;
    }
    const others = this.#waiting.splice(0, behind);
    for (const other of others) if (other.question === look.question) other.resolve(found);
    this.#waiting.unshift(...others.filter(({ question }) => question !== look.question));
  }
}

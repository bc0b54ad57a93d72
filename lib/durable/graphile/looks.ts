/*
 * Which looks for a job go to the database at the same time.
 *
 * The statement with which graphile-worker looks for a job locks the rows of all locks that are free until it is
 * committed. A look at the same time skips these rows, finds none of their jobs, and its worker sleeps; so of ten
 * looks nine would be wasted, and each goes through all locks.
 *
 *   the last job that was found     looks at a time
 *   one of a lock                   one; the next is on its way
 *   one without a lock              all that are asked for
 *
 * One after the other they are sent on one connection, in pipeline mode: the next waits in the server, which begins it
 * when the one before has been committed, and not only when this process has read the answer.
 *
 * When a job has ended, its lock is free, and a worker has to look again, but only if no look waits already: a nudge for
 * graphile-worker makes all workers that are looking look again, which with many workers delays the end of jobs.
 *
 * When a look finds nothing, those that were waiting when it began, and ask the same, have their answer.
 *
 * Source: strategy 2 in sql/getJobs of graphile-worker 0.17.
 */

/** What a look returns: the rows of jobs. */
export interface Found {
  readonly rows: readonly { readonly job_queue_id?: unknown }[];
}

/** Executes a look; `isInLine`: where one after the other is executed. */
type Ask<T> = (isInLine: boolean) => Promise<T>;

interface Waiting<T> {
  /** How many looks had begun when it was asked for, or renewed. */
  asked: number;
  isRenewed: boolean;
  readonly question: string;
  readonly ask: Ask<T>;
  readonly resolve: (found: T) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The looks of a worker.
 *
 * @internal
 */
export class Looks<T extends Found> {
  /** How many may have been sent while they go one after the other. */
  ahead = 1;
  #open = 0;
  /** How many have begun. */
  #begun = 0;
  #oneAtATime = true;
  #waiting: Waiting<T>[] = [];

  /**
   * Looks for a job, when it may.
   *
   * @param question - equal for looks that can share an answer
   * @param ask - executes the statement
   */
  look(question: string, ask: Ask<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        asked: this.#begun,
        isRenewed: false,
        question,
        ask,
        resolve,
        reject,
      });
      this.#begin();
    });
  }

  /**
   * Notes that one more job may be found now: a look that waits is not answered by one that began before.
   *
   * @returns false: no look waits that has not been renewed for another job, so that one more is needed
   */
  renew(): boolean {
    const look = this.#waiting.find(({ isRenewed }) => !isRenewed);
    if (look === undefined) return false;
    look.isRenewed = true;
    look.asked = this.#begun;
    return true;
  }

  #begin(): void {
    while (this.#waiting.length > 0 && (this.#open < this.ahead || !this.#oneAtATime)) {
      const look = this.#waiting.shift() as Waiting<T>;
      this.#open++;
      void this.#run(look, this.#begun++);
    }
  }

  async #run(look: Waiting<T>, begun: number): Promise<void> {
    try {
      this.#found(look, await look.ask(this.#oneAtATime), begun);
    } catch (error) {
      look.reject(error);
    }
    this.#open--;
    this.#begin();
  }

  #found(look: Waiting<T>, found: T, begun: number): void {
    look.resolve(found);
    const last = found.rows.at(-1);
    if (last !== undefined) {
      this.#oneAtATime = (last.job_queue_id ?? null) !== null;
      return;
    }
    const isAnswered = ({ asked, question }: Waiting<T>): boolean =>
      asked <= begun && question === look.question;
    const waiting = this.#waiting;
    this.#waiting = waiting.filter((other) => !isAnswered(other));
    for (const other of waiting) if (isAnswered(other)) other.resolve(found);
  }
}

// Counts all worker threads as they are created and end.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach } from 'mocha';

/** The threads since the spec began. */
export class ThreadWatch {
  /** The number of threads that have not ended. */
  count = 0;
  /** The maximum number of concurrent threads. */
  most = 0;
  /** The number of all threads created. */
  made = 0;
  readonly #onWorker = (message: unknown): void => {
    this.made++;
    this.count++;
    this.most = Math.max(this.most, this.count);
    (message as { worker: Worker }).worker.once('exit', () => void this.count--);
  };

  begin(): void {
    this.count = 0;
    this.most = 0;
    this.made = 0;
    subscribe('worker_threads', this.#onWorker);
  }

  end(): void {
    unsubscribe('worker_threads', this.#onWorker);
  }
}

/** Counts during each spec of the suite in which this is called. */
export function watchThreads(): ThreadWatch {
  const watch = new ThreadWatch();
  beforeEach(() => watch.begin());
  afterEach(() => watch.end());
  return watch;
}

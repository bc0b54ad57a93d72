// Which worker threads there are: counted as they are made and end, by whomever.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach } from 'mocha';

/** The threads made since the suite's spec began. */
export class ThreadWatch {
  /** Made and not ended. */
  count = 0;
  /** The most there were at once. */
  most = 0;
  /** All that were made. */
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

/** Watches during each spec of the suite this is called in. */
export function watchThreads(): ThreadWatch {
  const watch = new ThreadWatch();
  beforeEach(() => watch.begin());
  afterEach(() => watch.end());
  return watch;
}

import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

interface Waiter {
  readonly upTo: number;
  readonly resolve: () => void;
}

/** Appends the readings of all devices to a file, in batches. The timers factory decides when. */
export class History {
  /** Number of readings accepted. */
  accepted = 0;
  /** Number of readings that are on disk or could not be written (see `lost`). */
  settled = 0;
  /** Number of readings that could not be written. */
  lost = 0;
  /** Called when there is something to write, soon or now. Set by the gateway. */
  wake: (now: boolean) => void = () => {};

  readonly batchMs: number;
  readonly #file: FileHandle;
  #lines: string[] = [];
  #waiters: Waiter[] = [];

  private constructor(file: FileHandle, batchMs: number) {
    this.#file = file;
    this.batchMs = batchMs;
  }

  static async open(path: string, batchMs: number): Promise<History> {
    return new History(await open(path, 'a'), batchMs);
  }

  /** Number of readings that are not in a batch yet. */
  get waiting(): number {
    return this.#lines.length;
  }

  add(id: string, seq: number, text: string): void {
    this.#lines.push(`${id} ${seq} ${text}\n`);
    this.accepted += 1;
    this.wake(false);
  }

  /** Appends all waiting readings in one write. Must not be called while a write is in progress. */
  async writeBatch(): Promise<void> {
    const lines = this.#lines;
    this.#lines = [];
    try {
      await this.#file.appendFile(lines.join(''), 'latin1');
    } catch (error) {
      // A full disk must not end the gateway, but it must be reported.
      this.lost += lines.length;
      console.error(`history: ${lines.length} readings lost:`, error);
    }
    this.settled += lines.length;
    const ready = this.#waiters.filter((waiter) => waiter.upTo <= this.settled);
    this.#waiters = this.#waiters.filter((waiter) => waiter.upTo > this.settled);
    for (const waiter of ready) waiter.resolve();
  }

  /** Resolves when all readings accepted so far are written or lost. */
  flushed(): Promise<void> {
    const upTo = this.accepted;
    if (this.settled >= upTo) return Promise.resolve();
    if (this.waiting > 0) this.wake(true);
    return new Promise((resolve) => this.#waiters.push({ upTo, resolve }));
  }

  async close(): Promise<void> {
    await this.flushed();
    await this.#file.close();
  }
}

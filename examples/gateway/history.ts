import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

interface Waiter {
  readonly upTo: number;
  readonly resolve: () => void;
}

/** Every reading of every device, appended to a file in batches. It does not know when: see ConnectionTimers. */
export class History {
  /** Readings taken in. */
  accepted = 0;
  /** Readings that are on disk, or that could not be written (see `lost`). */
  settled = 0;
  /** Readings that could not be written. */
  lost = 0;
  /** Set by the gateway: tells that there is something to write, soon or now. */
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

  /** Readings not yet taken up by a batch. */
  get waiting(): number {
    return this.#lines.length;
  }

  add(id: string, seq: number, text: string): void {
    this.#lines.push(`${id} ${seq} ${text}\n`);
    this.accepted += 1;
    this.wake(false);
  }

  /** Appends all that waits, as one write. Not to be called while it runs. */
  async writeBatch(): Promise<void> {
    const lines = this.#lines;
    this.#lines = [];
    try {
      await this.#file.appendFile(lines.join(''), 'latin1');
    } catch (error) {
      // A full disk must not end the gateway, but nobody shall say that it went unnoticed.
      this.lost += lines.length;
      console.error(`history: ${lines.length} readings lost:`, error);
    }
    this.settled += lines.length;
    const ready = this.#waiters.filter((waiter) => waiter.upTo <= this.settled);
    this.#waiters = this.#waiters.filter((waiter) => waiter.upTo > this.settled);
    for (const waiter of ready) waiter.resolve();
  }

  /** Resolves when all that has been accepted so far is settled. */
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

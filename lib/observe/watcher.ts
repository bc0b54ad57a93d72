/*
 * Watches an event loop from another thread, so that a function is reported that never returns.
 *
 *   this thread                                   the watching thread, every few ms
 *   entered:  LABEL = number of its name          SEQUENCE is odd, and has not changed for `blockMs`:
 *             SEQUENCE++ (odd)                     read the stack through the inspector,
 *   returned: SEQUENCE++ (even)                    write the report, and post it to this thread
 *
 * The clock is not read here: the watching thread tells how long a number has not changed. A name is posted
 * before the first function with that name is entered, and messages between threads need no event loop of
 * the sender, so the watching thread knows the name however soon the function blocks.
 */

import { Worker, isMainThread } from 'node:worker_threads';
import type { Kcont } from '../core/kcont.ts';
import { label } from '../core/schedule.ts';
import type { Workqueue } from '../core/workqueue.ts';
import type { KernelObserver } from './kernel-observer.ts';
import { functionOf } from './list-entry.ts';
import type { FlightRecorder } from './recorder/recording.ts';
import { Tap } from './tap.ts';
import {
  LABEL,
  SEQUENCE,
  TICKS,
  WORDS,
  type Block,
  type Named,
  type WatchData,
} from './watch-words.ts';

/** The file of the watching thread: beside index.ts, because the bundle puts this code there. */
const ENTRY_URL: URL = new URL(
  import.meta.url.endsWith('.ts') ? './watch-entry.ts' : './watch-entry.js',
  import.meta.url,
);

/** How many names are told apart; all further ones share the first number. */
const MOST_NAMES = 10_000;

/**
 * The functions of one name on one workqueue.
 *
 * @internal
 */
export interface Watched {
  readonly name: string;
  readonly function: string;
  readonly workqueue: string;
  readonly priority: number;
}

const OTHERS: Watched = { name: 'a function', function: '', workqueue: '', priority: 0 };

/**
 * Watches the functions of one kernel.
 *
 * @internal
 */
export class Watcher extends Tap {
  readonly #words = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT));
  readonly #labels = new WeakMap<Workqueue, Map<string, number>>();
  readonly #watched: Watched[] = [OTHERS];
  readonly #worker: Worker;
  readonly #remove: () => void;
  #entered: Kcont<unknown> | null = null;

  /**
   * Starts the thread.
   *
   * @param recorder - whose recording is written for a block; null: none
   * @param tell - called with each block, when the event loop is free again
   */
  constructor(
    observer: KernelObserver,
    blockMs: number,
    recorder: FlightRecorder | null,
    tell: (watched: Watched, block: Block) => void,
  ) {
    super();
    const workerData: WatchData = {
      kcontWatch: true,
      words: this.#words,
      blockMs,
      isMain: isMainThread,
      rings: recorder?.rings ?? null,
    };
    this.#remove = observer.add(this);
    try {
      // It needs no options of this process, some of which a thread would refuse.
      this.#worker = new Worker(ENTRY_URL, { workerData, execArgv: [], name: 'kcont/observe' });
    } catch (error) {
      this.#remove();
      throw error;
    }
    this.#worker.on('message', (block: Block) => {
      tell(this.#watched[block.label] ?? OTHERS, block);
    });
    // The process goes on without it.
    this.#worker.on('error', ({ message }: Error) => {
      this.stop();
      process.stderr.write(`kcont: nothing watches the event loop any more: ${message}\n`);
    });
    // After the listeners, which keep the process alive.
    this.#worker.unref();
    recorder?.recorder.followTicks(this.#words, TICKS);
  }

  stop(): void {
    this.#remove();
    void this.#worker.terminate();
  }

  override entered(kc: Kcont<unknown>): void {
    this.#entered = kc;
    this.#words[LABEL] = this.#labelOf(kc);
    Atomics.add(this.#words, SEQUENCE, 1);
  }

  override suspended(kc: Kcont<unknown>): void {
    this.settled(kc);
  }

  override settled(kc: Kcont<unknown>): void {
    if (this.#entered !== kc) return;
    this.#entered = null;
    Atomics.add(this.#words, SEQUENCE, 1);
  }

  #labelOf(kc: Kcont<unknown>): number {
    const wq = kc._wq;
    let labels = this.#labels.get(wq);
    if (labels === undefined) this.#labels.set(wq, (labels = new Map<string, number>()));
    const name = label(kc);
    const known = labels.get(name);
    if (known !== undefined) return known;
    if (this.#watched.length > MOST_NAMES) return 0;
    const watched: Watched = {
      name,
      function: functionOf(kc),
      workqueue: wq.name,
      priority: wq.priority,
    };
    const next = this.#watched.push(watched) - 1;
    labels.set(name, next);
    const named: Named = { label: next, text: `${name} on ${wq.name}` };
    this.#worker.postMessage(named);
    return next;
  }
}

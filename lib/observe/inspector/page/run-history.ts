/*
 * Puts records of the flight recorder together to runs, as they arrive, and keeps those of the last ten seconds.
 * Records are decoded here, so that it costs the program nothing.
 */

import type { RecordsHeader } from '../protocol.ts';
import type { LockName, WorkName } from '../../recorder/records.ts';
import {
  ASIDE,
  ENTER,
  EXPIRE,
  FAIL,
  FLAGS_AT,
  NAME_AT,
  OPEN_AT,
  PRIORITY_AT,
  RECORD_BYTES,
  SCHEDULE,
  SETTLE,
  STOP,
  SUSPEND,
  WAIT,
} from '../../recorder/ring.ts';

/** One run of a continuation. All times are in ms as of `now()` of the kernel. */
export interface Run {
  readonly cpu: number;
  readonly id: number;
  readonly name: string;
  readonly function: string;
  readonly workqueue: string;
  readonly priority: number;
  readonly enteredMs: number;
  /** When its function returned or threw; NaN: it is on the stack. */
  returnedMs: number;
  /** When its promise settled; the same as `returnedMs` if it returned none; NaN: it is in flight. */
  settledMs: number;
  /** For how long it had been due. */
  readonly waitedMs: number;
  /** When it was scheduled, and with which delay; null: not recorded. */
  readonly scheduledMs: number | null;
  /** The lock for which it had to wait, and who held it; null: none, not known. */
  readonly lock: string | null;
  readonly holder: string | null;
  /** Whether it waited for its lock, a place under maxActive, its own run or another CPU. */
  readonly aside: boolean;
  isAsync: boolean;
  failed: boolean;
  /** So many runs that returned just before it have an estimated end. */
  estimated: number;
}

interface Scheduled {
  scheduledMs: number | null;
  lock: string | null;
  holder: number;
}

const TICKS_PER_MS = 8;
const WORDS = RECORD_BYTES / Int32Array.BYTES_PER_ELEMENT;
const DOUBLES = RECORD_BYTES / Float64Array.BYTES_PER_ELEMENT;
const OTHERS: WorkName = { name: '(others)', function: '', workqueue: '', patienceMs: null };

/** How many names are kept, by id. */
const MOST_SEEN = 100_000;

/** What is known of one ring. */
class RingHistory {
  readonly names: (WorkName | LockName)[] = [];
  next: readonly [number, number] = [0, 0];
  readonly #scheduled = new Map<number, Scheduled>();
  readonly #inFlight = new Map<number, Run>();
  /** The name of each continuation that has been seen, by its id. */
  readonly #seen = new Map<number, string>();

  /** Decodes records, and adds the runs that they begin. */
  add(cpu: number, times: Float64Array, words: Int32Array, originMs: number, runs: Run[]): void {
    for (let n = 0; n * WORDS < words.length; n++) {
      const word = n * WORDS;
      const atMs = (times[n * DOUBLES] as number) - originMs;
      const head = words[word + 2] as number;
      const id = words[word + 3] as number;
      const a = words[word + 4] as number;
      const b = words[word + 5] as number;
      const kind = head & 15;
      if (kind === ENTER) runs.push(this.#enter(cpu, id, head, atMs, a));
      else if (kind === SCHEDULE) {
        this.#scheduled.set(id, { scheduledMs: atMs, lock: null, holder: 0 });
      } else if (kind === WAIT) this.#wait(id, a, b);
      else if (kind === STOP) this.#scheduled.delete(id);
      else if (kind === SUSPEND || kind === SETTLE) this.#end(id, kind, atMs, a);
      else if (kind === FAIL) this.#fail(id, runs);
      else if (kind !== EXPIRE) return;
    }
  }

  /** Records are missing: what they ended is not known. */
  forget(): void {
    this.#scheduled.clear();
    for (const run of this.#inFlight.values()) if (!run.isAsync) this.#inFlight.delete(run.id);
  }

  #enter(cpu: number, id: number, head: number, atMs: number, waitedTicks: number): Run {
    const found = this.names[head >>> NAME_AT];
    const {
      name,
      function: func,
      workqueue,
    } = found !== undefined && 'name' in found ? found : OTHERS;
    const scheduled = this.#scheduled.get(id);
    this.#scheduled.delete(id);
    const flags = (head >>> FLAGS_AT) & 15;
    const run: Run = {
      cpu,
      id,
      name,
      function: func,
      workqueue,
      priority: (head >>> PRIORITY_AT) & 255,
      enteredMs: atMs,
      returnedMs: NaN,
      settledMs: NaN,
      waitedMs: waitedTicks / TICKS_PER_MS,
      scheduledMs: scheduled?.scheduledMs ?? null,
      lock: scheduled?.lock ?? null,
      holder: this.#seen.get(scheduled?.holder ?? 0) ?? null,
      aside: (flags & ASIDE) !== 0,
      isAsync: false,
      failed: false,
      estimated: flags >> OPEN_AT,
    };
    this.#inFlight.set(id, run);
    if (this.#seen.size >= MOST_SEEN) this.#seen.clear();
    if (this.#seen.get(id) !== name) this.#seen.set(id, name);
    return run;
  }

  #wait(id: number, lock: number, holder: number): void {
    const found = this.names[lock];
    const name = found !== undefined && 'lock' in found ? found.lock : '(others)';
    let scheduled = this.#scheduled.get(id);
    if (scheduled === undefined) {
      scheduled = { scheduledMs: null, lock: null, holder: 0 };
      this.#scheduled.set(id, scheduled);
    }
    scheduled.lock ??= name;
    scheduled.holder ||= holder;
  }

  #end(id: number, kind: number, atMs: number, estimated: number): void {
    const run = this.#inFlight.get(id);
    if (run === undefined) return;
    if (Number.isNaN(run.returnedMs)) {
      run.returnedMs = atMs;
      run.estimated = estimated;
    }
    if (kind === SUSPEND) run.isAsync = true;
    else {
      run.settledMs = atMs;
      this.#inFlight.delete(id);
    }
  }

  #fail(id: number, runs: Run[]): void {
    const run = this.#inFlight.get(id);
    if (run !== undefined) run.failed = true;
    else {
      // The function has settled before its error was told.
      const last = runs.at(-1);
      if (last?.id === id) last.failed = true;
    }
  }
}

/** How many runs are kept. */
const MOST_RUNS = 400_000;

/** The runs of all CPUs. */
export class RunHistory {
  /** In the order in which they were entered, by CPU. */
  runs: Run[] = [];
  /** When the last records were read. */
  nowMs = 0;
  lost = 0;
  #source = 0;
  #rings: RingHistory[] = [];

  /** What to ask for next. */
  get cursor(): { source: number; rings: (readonly [number, number])[] } {
    return { source: this.#source, rings: this.#rings.map(({ next }) => next) };
  }

  /** Takes an answer. */
  add(answer: ArrayBuffer, keepMs: number): void {
    const length = new DataView(answer).getUint32(0, true);
    const header = JSON.parse(
      new TextDecoder().decode(new Uint8Array(answer, 4, length)),
    ) as RecordsHeader;
    if (header.source !== this.#source) {
      this.#source = header.source;
      this.#rings = [];
      this.runs = [];
    }
    this.nowMs = header.nowMs - header.originMs;
    this.lost = 0;
    let at = 4 + length;
    for (const [index, ring] of header.rings.entries()) {
      const history = (this.#rings[index] ??= new RingHistory());
      history.next = ring.next;
      if (ring.cpu === null) continue;
      for (const name of ring.names) history.names.push(name);
      if (ring.lost > 0) history.forget();
      this.lost += ring.lost;
      const size = ring.records * RECORD_BYTES;
      const times = new Float64Array(answer, at, ring.records * DOUBLES);
      const words = new Int32Array(answer, at, ring.records * WORDS);
      at += size;
      history.add(ring.cpu, times, words, header.originMs, this.runs);
    }
    this.#prune(this.nowMs - keepMs);
  }

  #prune(fromMs: number): void {
    this.runs = this.runs.filter(
      ({ enteredMs, settledMs }) =>
        enteredMs >= fromMs || Number.isNaN(settledMs) || settledMs >= fromMs,
    );
    if (this.runs.length > MOST_RUNS) this.runs = this.runs.slice(-MOST_RUNS);
  }
}

/** Why a run began when it did, in a sentence. */
export function reasonOf(run: Run, runs: readonly Run[], show: (ms: number) => string): string {
  const { waitedMs, enteredMs } = run;
  if (run.lock !== null) {
    const by = run.holder === null ? 'by code or by an unknown holder' : `by ${run.holder}`;
    return `It was due for ${show(waitedMs)} and waited for lock ${run.lock}, which was held ${by}.`;
  }
  if (run.aside) {
    return `It was due for ${show(waitedMs)} and waited for a place under maxActive, its own earlier run, or a CPU.`;
  }
  if (waitedMs < 1) return 'It did not wait.';
  const before = new Map<string, number>();
  for (const other of runs) {
    if (other === run || other.cpu !== run.cpu) continue;
    const endMs = Number.isNaN(other.returnedMs) ? enteredMs : other.returnedMs;
    const ms = Math.min(endMs, enteredMs) - Math.max(other.enteredMs, enteredMs - waitedMs);
    if (ms > 0) before.set(other.name, (before.get(other.name) ?? 0) + ms);
  }
  const [longest] = [...before].toSorted(([, a], [, b]) => b - a);
  const busy =
    longest === undefined ? '' : ` Most of it went to ${longest[0]}: ${show(longest[1])}.`;
  return `It was due for ${show(waitedMs)}, while the event loop was busy or blocked.${busy}`;
}

/** The summary, and the tables of workqueues, CPUs, locks and runs in flight. */

import {
  MOST_COUNTED,
  type CpuSample,
  type EntrySample,
  type LockSample,
  type Percentiles,
  type Sample,
  type WorkqueueSample,
  type GraphSample,
  type PartySample,
  type WaitSample,
} from '../protocol.ts';
import { byId, create, setText } from './dom.ts';
import { bytes, count, duration, micros, percent, rate } from './format.ts';
import { LiveTable, type TableColumn } from './table.ts';
import { LATE_MS, LONG_MS } from './timeline.ts';

const US_PER_MS = 1000;
const MS_PER_S = 1000;

/** A workqueue with what it has done since the last sample. */
interface WorkqueueRow extends WorkqueueSample {
  readonly enteredNow: number;
  readonly failedNow: number;
  readonly intervalMs: number;
}

function percentile(
  title: string,
  hint: string,
  pick: (row: WorkqueueRow) => Percentiles,
  name: 'p50' | 'p99' | 'max',
  limitMs: number,
): TableColumn<WorkqueueRow> {
  return {
    title,
    hint,
    kind: 'number',
    text: (row) => (pick(row).count === 0 ? '–' : micros(pick(row)[name])),
    mark: (row) => (pick(row)[name] > limitMs * US_PER_MS ? 'bad' : ''),
  };
}

const WORKQUEUES: readonly TableColumn<WorkqueueRow>[] = [
  { title: 'Workqueue', text: ({ name }) => name },
  { title: 'Priority', kind: 'number', text: ({ priority }) => String(priority) },
  {
    title: 'Shares',
    hint: 'of the time of its priority',
    kind: 'number',
    text: ({ shares }) => (shares === null ? '–' : String(shares)),
  },
  {
    title: 'Runnable',
    hint: 'runnable or waiting',
    kind: 'number',
    text: ({ queued }) => count(queued),
  },
  { title: 'In flight', kind: 'number', text: ({ running }) => count(running) },
  {
    title: 'Runs/s',
    kind: 'number',
    text: ({ enteredNow, intervalMs }) => rate(enteredNow, intervalMs),
  },
  percentile('Late p50', 'lateness of timers, median', (row) => row.latenessUs, 'p50', LATE_MS),
  percentile('p99', 'lateness of timers, 99th percentile', (row) => row.latenessUs, 'p99', LATE_MS),
  percentile('max', 'greatest lateness of a timer', (row) => row.latenessUs, 'max', LATE_MS),
  percentile('Queue p50', 'queue wait of jobs, median', (row) => row.queueWaitUs, 'p50', LATE_MS),
  percentile(
    'p99',
    'queue wait of jobs, 99th percentile',
    (row) => row.queueWaitUs,
    'p99',
    LATE_MS,
  ),
  percentile('Run p99', 'run time, 99th percentile', (row) => row.runTimeUs, 'p99', Infinity),
  percentile('max', 'longest run', (row) => row.runTimeUs, 'max', Infinity),
  {
    title: 'Longest wait',
    hint: 'since the kernel is observed',
    kind: 'number',
    text: ({ longestWaitMs }) => duration(longestWaitMs),
  },
  {
    title: 'Failed',
    hint: 'since the workqueue was created',
    kind: 'number',
    text: ({ failed }) => count(failed),
    mark: ({ failedNow }) => (failedNow > 0 ? 'failed' : ''),
  },
];

const CPUS: readonly TableColumn<CpuSample>[] = [
  { title: 'CPU', text: ({ index }) => String(index) },
  { title: 'State', text: ({ state }) => state },
  {
    title: 'Blocked for',
    kind: 'number',
    text: ({ lagMs }) => duration(lagMs),
    mark: ({ lagMs }) => (lagMs > LONG_MS ? 'bad' : ''),
  },
  {
    title: 'Passes',
    kind: 'number',
    text: ({ passes }) => (passes === null ? '–' : count(passes)),
  },
];

/** The first of so many names. */
function someOf(names: readonly string[], all: number): string {
  const text = names.join(', ');
  return all > names.length ? `${text}, …` : text || '–';
}

function lockColumns(nowMs: () => number): readonly TableColumn<LockSample>[] {
  return [
    { title: 'Lock', text: ({ name }) => name },
    {
      title: 'Held by',
      kind: 'text',
      text: ({ holders, holding }) => {
        const names = holders.map(({ name, sinceMs }) =>
          sinceMs === null ? name : `${name} for ${duration(Math.max(0, nowMs() - sinceMs))}`,
        );
        return someOf(names, holding);
      },
    },
    {
      title: 'Waiting',
      kind: 'number',
      text: ({ waiting }) => `${count(waiting)}${waiting === MOST_COUNTED ? '+' : ''}`,
      mark: ({ waiting }) => (waiting > 0 ? 'bad' : ''),
    },
    {
      title: 'Waiters',
      hint: 'the first of them, in their order',
      kind: 'text',
      text: ({ waiters, waiting }) =>
        someOf(
          waiters.map(({ name }) => name),
          waiting,
        ),
    },
    {
      title: 'Taken',
      kind: 'number',
      text: ({ counters }) => (counters === null ? '–' : count(counters.taken)),
    },
    {
      title: 'Contended',
      kind: 'number',
      text: ({ counters, waiting }) =>
        counters === null ? '–' : percent(counters.contended, counters.taken + waiting),
    },
    {
      title: 'Longest wait',
      kind: 'number',
      text: ({ counters }) => (counters === null ? '–' : duration(counters.longestWaitMs)),
    },
  ];
}

const STUCK_MS = 30_000;

function runColumns(
  nowMs: () => number,
  open: (entry: EntrySample) => void,
): readonly TableColumn<EntrySample>[] {
  const age = ({ sinceMs }: EntrySample): number =>
    sinceMs === null ? 0 : Math.max(0, nowMs() - sinceMs);
  return [
    { title: 'Name', text: ({ name }) => name, open },
    { title: 'Workqueue', text: ({ workqueue }) => workqueue ?? '–' },
    {
      title: 'Running for',
      kind: 'number',
      text: (entry) => (entry.sinceMs === null ? 'not known' : duration(age(entry))),
      mark: (entry) => (age(entry) > STUCK_MS ? 'bad' : ''),
    },
    { title: 'Lock', text: ({ lock }) => lock ?? '–' },
    { title: 'CPU', kind: 'number', text: ({ cpu }) => (cpu === null ? '–' : String(cpu)) },
    { title: 'Id', kind: 'number', text: ({ id }) => `#${id}` },
  ];
}

/** A wait, and whether it is in a deadlock. */
interface WaitRow extends WaitSample {
  readonly isStuck: boolean;
}

function party({ name, id }: PartySample): string {
  return id === null ? name : `${name} #${id}`;
}

function thing({ waitsFor, what }: WaitSample): string {
  if (waitsFor === 'lock') return `lock ${what}`;
  if (waitsFor === 'maxActive') return `a place on ${what}`;
  return waitsFor === 'run' ? `the run of ${what}` : 'a CPU';
}

function waitColumns(nowMs: () => number): readonly TableColumn<WaitRow>[] {
  return [
    {
      title: 'Waits',
      text: ({ waiter, isStuck }) => (isStuck ? `${party(waiter)}, deadlocked` : party(waiter)),
      mark: ({ isStuck }) => (isStuck ? 'failed' : ''),
    },
    { title: 'For', text: thing },
    {
      title: 'Since',
      kind: 'number',
      text: ({ sinceMs }) =>
        sinceMs === null ? 'not known' : duration(Math.max(0, nowMs() - sinceMs)),
    },
    {
      title: 'Held by',
      kind: 'text',
      text: ({ holders, holding }) => someOf(holders.map(party), holding),
    },
    { title: 'Where', kind: 'text', text: ({ site }) => site ?? '–' },
  ];
}

/** What a sample contains, as tables. */
export class Overview {
  readonly #workqueues = new LiveTable(byId('workqueues'), WORKQUEUES, 'No workqueues');
  readonly #cpus = new LiveTable(byId('cpus'), CPUS, 'No CPUs');
  readonly #locks: LiveTable<LockSample>;
  readonly #runs: LiveTable<EntrySample>;
  readonly #waits: LiveTable<WaitRow>;
  #last: Sample | null = null;

  /** @param open - called for a run whose name is clicked */
  constructor(open: (entry: EntrySample, nowMs: number) => void) {
    const nowMs = (): number => this.#last?.nowMs ?? 0;
    this.#locks = new LiveTable(
      byId('locks'),
      lockColumns(nowMs),
      'No lock has a name or is waited for',
    );
    this.#waits = new LiveTable(byId('waits'), waitColumns(nowMs), 'Nobody waits');
    const columns = runColumns(nowMs, (entry) => open(entry, nowMs()));
    this.#runs = new LiveTable(byId('runs'), columns, 'No asynchronous run is in flight');
  }

  show(sample: Sample): void {
    const before = new Map(this.#last?.workqueues.map((one) => [one.name, one]));
    this.#last = sample;
    const { intervalMs } = sample;
    this.#workqueues.show(
      sample.workqueues.map((one) => {
        const last = before.get(one.name) ?? one;
        const enteredNow = Math.max(0, one.entered - last.entered);
        const failedNow = Math.max(0, one.failed - last.failed);
        return { ...one, enteredNow, failedNow, intervalMs };
      }),
    );
    this.#cpus.show(sample.cpus);
    this.#locks.show(sample.locks);
    this.#runs.show(sample.runs);
    this.#showGraph(sample.graph);
    this.#summarize(sample);
    const { title, pid, node, uptimeS } = sample.process;
    const text = `${title}, process ${pid}, Node ${node}, up ${duration(uptimeS * MS_PER_S)}`;
    byId('process').textContent = text;
    document.title = `kcont inspector: ${title}`;
  }

  #showGraph(graph: GraphSample | null): void {
    const { waits, deadlocks, total } = graph ?? { waits: [], deadlocks: [], total: 0 };
    const stuck = new Set(
      deadlocks.flatMap((one) => one.waits.map(({ waiter, what }) => `${party(waiter)} ${what}`)),
    );
    const rows = waits.map((wait) => {
      const isStuck = stuck.has(`${party(wait.waiter)} ${wait.what}`);
      return { ...wait, isStuck };
    });
    this.#waits.show([
      ...rows.filter(({ isStuck }) => isStuck),
      ...rows.filter((row) => !row.isStuck),
    ]);
    const note =
      graph === null
        ? 'So many wait that the graph is not made.'
        : total > waits.length
          ? `The first ${waits.length} of ${count(total)} waits.`
          : '';
    setText(byId('waits-note'), note);
    const list = byId('deadlocks');
    const texts = deadlocks.map(({ message }) => message);
    // What has been said is not said again.
    if (texts.join('\n') !== Array.from(list.children, (item) => item.textContent).join('\n')) {
      list.replaceChildren();
      for (const text of texts) list.append(create('li', '', text));
    }
  }

  #summarize(sample: Sample): void {
    const { intervalMs, cpuMs, activeMs, workqueues } = sample;
    const latestUs = workqueues.reduce((most, { latenessUs }) => Math.max(most, latenessUs.p99), 0);
    const terms: readonly (readonly [string, string, boolean])[] = [
      ['Pending', count(sample.pending), false],
      ['Runnable, waiting', count(sample.queued), false],
      ['In flight', count(sample.running), false],
      ['Event loop', percent(activeMs, intervalMs), activeMs > 0.9 * intervalMs && intervalMs > 0],
      ['CPU time', percent(cpuMs, intervalMs), false],
      ['Lateness p99', micros(latestUs), latestUs > LATE_MS * US_PER_MS],
      ['Heap', bytes(sample.heapBytes), false],
      ['Memory (RSS)', bytes(sample.rssBytes), false],
    ];
    const list = byId('summary');
    if (list.childElementCount !== terms.length) {
      list.replaceChildren(
        ...terms.map(([term]) => {
          const pair = create('div');
          pair.append(create('dt', '', term), create('dd'));
          return pair;
        }),
      );
    }
    for (const [at, [, value, isBad]] of terms.entries()) {
      const pair = list.children[at] as HTMLElement;
      pair.className = isBad ? 'bad' : '';
      (pair.lastElementChild as HTMLElement).textContent = value;
    }
  }
}

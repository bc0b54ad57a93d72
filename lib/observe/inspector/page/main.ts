/*
 * The inspector's page. It asks for samples and records while it is visible, and for the list of all continuations so
 * rarely that it costs the program at most a fiftieth of its time.
 */

import type { Chunk, Listing, ListingEnd, Sample } from '../protocol.ts';
import { Unauthorized, call, hasToken, readLines, setToken } from './connection.ts';
import { Continuations } from './continuations.ts';
import { describeRun, showEntry, showListed, showRun } from './details.ts';
import { byId, setText } from './dom.ts';
import { count, duration } from './format.ts';
import { worst, type Worst } from './lanes.ts';
import { Overview } from './overview.ts';
import { RunHistory, reasonOf, type Run } from './run-history.ts';
import { LiveTable } from './table.ts';
import { LATE_MS, LONG_MS, Timeline } from './timeline.ts';
import { VirtualTable } from './virtual-table.ts';

const SAMPLE_MS = 1000;
const RECORDS_MS = 500;
const RETRY_MS = 2000;
const LIST_MS = 3000;
/** A list is asked for again after so many times the time that it took. */
const LIST_FACTOR = 50;
const KEEP_MS = 10_000;
const MOST_WORST = 12;

let isPaused = false;
let isConnected = false;
let sample: Sample | null = null;
let list = new Continuations();
const history = new RunHistory();

const overview = new Overview((entry, nowMs) => showEntry(entry, nowMs, lastReason(entry.id)));
const rows = new VirtualTable(
  byId('rows'),
  list,
  (shown, at) => showListed(shown, at, lastReason(Number(shown.value(at, 'id')))),
  (by) => byId('urgency').setAttribute('aria-pressed', String(by === 'urgency')),
);
const timeline = new Timeline(
  byId('timeline') as HTMLCanvasElement,
  (run) => setText(byId('selected'), describeRun(run)),
  openRun,
);
const longest = new LiveTable<Worst>(
  byId('longest'),
  [
    { title: 'Name', text: ({ run }) => run.name, open: ({ run }) => openRun(run) },
    { title: 'Workqueue', text: ({ run }) => run.workqueue },
    { title: 'Runs', kind: 'number', text: (group) => count(group.count) },
    {
      title: 'Occupied the loop',
      hint: 'the worst of them',
      kind: 'number',
      text: ({ run }) =>
        Number.isNaN(run.returnedMs) ? 'still running' : duration(run.returnedMs - run.enteredMs),
      mark: ({ run }) => (run.returnedMs - run.enteredMs > LONG_MS ? 'bad' : ''),
    },
    {
      title: 'Late by',
      hint: 'the worst of them',
      kind: 'number',
      text: ({ run }) => duration(run.waitedMs),
      mark: ({ run }) => (run.waitedMs > LATE_MS ? 'bad' : ''),
    },
    { title: 'Why', kind: 'text', text: ({ run }) => reasonOf(run, history.runs, duration) },
    { title: 'CPU', kind: 'number', text: ({ run }) => String(run.cpu) },
  ],
  'Nothing has run',
);

function openRun(run: Run): void {
  showRun(run, history.runs, history.nowMs, createdAt(run.id));
}

/** Where a continuation was created, if the list says so. */
function createdAt(id: number): string | null {
  const at = list.rows.findIndex((_, row) => list.value(row, 'id') === id);
  return at === -1 ? null : (list.value(at, 'createdAt') as string | null);
}

/** Why the last run of a continuation began when it did. */
function lastReason(id: number): string {
  const run = history.runs.findLast((one) => one.id === id);
  return run === undefined ? '' : `Its last run: ${reasonOf(run, history.runs, duration)}`;
}

async function takeSample(): Promise<number> {
  sample = (await (await call('/api/sample')).json()) as Sample;
  if (!isPaused) overview.show(sample);
  return SAMPLE_MS;
}

async function takeRecords(): Promise<number> {
  history.add(await (await call('/api/records', history.cursor)).arrayBuffer(), KEEP_MS);
  if (!isPaused) {
    timeline.show(history.runs, history.nowMs);
    longest.show(worst(history.runs, MOST_WORST, history.nowMs));
  }
  return RECORDS_MS;
}

async function takeList(): Promise<number> {
  const next = new Continuations();
  const isFirst = list.rows.length === 0;
  await readLines(await call('/api/continuations'), (line) => {
    next.add(line as Listing | Chunk | ListingEnd);
    if (isFirst) setText(byId('found'), `Reading ${count(next.total)} continuations …`);
  });
  list = next;
  rows.show(list);
  setText(byId('found'), rows.summary);
  return Math.max(LIST_MS, LIST_FACTOR * next.tookMs);
}

/** Whether the page asks for anything now. */
function isLive(): boolean {
  return !isPaused && !document.hidden && isConnected;
}

/** Something that is asked for again and again. */
class Poll {
  readonly #take: () => Promise<number>;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isTaking = false;

  constructor(take: () => Promise<number>) {
    this.#take = take;
  }

  async now(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#isTaking || !isConnected) return;
    this.#isTaking = true;
    let afterMs = RETRY_MS;
    try {
      afterMs = await this.#take();
      setText(byId('status'), '');
    } catch (error) {
      failed(error);
    }
    this.#isTaking = false;
    if (isLive()) this.#timer = setTimeout(() => void this.now(), afterMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

const lists = new Poll(takeList);
const polls = [new Poll(takeSample), new Poll(takeRecords), lists];

function resume(): void {
  for (const poll of polls) {
    if (isLive()) void poll.now();
    else poll.stop();
  }
}

function failed(error: unknown): void {
  if (error instanceof Unauthorized) {
    isConnected = false;
    signIn('The token is wrong.');
  } else {
    setText(byId('status'), `No answer from the program, trying again: ${String(error)}`);
  }
}

function signIn(message: string): void {
  byId('views').hidden = true;
  byId('sign-in').hidden = false;
  setText(byId('status'), message);
  setText(byId('process'), 'Not connected');
}

function connect(): void {
  isConnected = true;
  byId('sign-in').hidden = true;
  byId('views').hidden = false;
  setText(byId('status'), '');
  resume();
}

byId('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const input = byId('token') as HTMLInputElement;
  // The whole link will do.
  setToken(input.value.trim().replace(/^.*#token=/, ''));
  input.value = '';
  connect();
});

byId('pause').addEventListener('click', () => {
  isPaused = !isPaused;
  const button = byId('pause');
  button.setAttribute('aria-pressed', String(isPaused));
  resume();
});

byId('refresh').addEventListener('click', () => void lists.now());
byId('urgency').addEventListener('click', () => rows.orderBy('urgency'));
byId('search').addEventListener('input', () => {
  rows.search((byId('search') as HTMLInputElement).value);
  setText(byId('found'), rows.summary);
});

function look(): void {
  const spanMs = Number((byId('span') as HTMLSelectElement).value);
  const back = byId('back') as HTMLInputElement;
  back.max = String(KEEP_MS - spanMs);
  back.disabled = spanMs === KEEP_MS;
  const backMs = Math.min(Number(back.value), KEEP_MS - spanMs);
  setText(byId('back-text'), duration(backMs));
  timeline.look(spanMs, backMs);
}
byId('span').addEventListener('change', look);
byId('back').addEventListener('input', look);
look();

byId('export').addEventListener('click', () => {
  const data = {
    sample,
    continuations: {
      nowMs: list.nowMs,
      total: list.total,
      entries: list.rows.map((_, at) => list.entry(at)),
    },
    runs: { nowMs: history.nowMs, lost: history.lost, runs: timeline.runs },
  };
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(data)], { type: 'application/json' }));
  link.download = `kcont-${sample?.process.pid ?? 'inspector'}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
});

document.addEventListener('visibilitychange', resume);
if (hasToken()) connect();
else signIn('');

import type { ReadStream, WriteStream } from 'node:tty';
import { race } from '../../base/race.ts';
import { real } from '../../base/host-functions.ts';
import { duration } from '../duration.ts';
import type { ActivityRow, SampleLine } from '../socket/protocol.ts';
import { Failure, connect, titleOf, type Connection, type Target } from './connection.ts';
import { clean, cleanJson, fit, ms, table, type Column } from './text.ts';
import { Threads, type Sampled } from './threads.ts';

/** By what the rows are sorted. @internal */
export type SortKey = 'late' | 'run' | 'wait' | 'cpu';

/** @internal */
export const SORT_KEYS: readonly SortKey[] = ['late', 'run', 'wait', 'cpu'];

/** Optional settings of `kcont top`. @internal */
export interface TopOptions extends Target {
  readonly json: boolean;
  readonly intervalMs: number;
  /** After how many samples it ends. */
  readonly count: number;
  readonly sort: SortKey;
  readonly input: ReadStream;
  readonly output: WriteStream;
  readonly print: (line: string) => void;
  /** Told of each thread that does not answer any more, if another one does. */
  readonly warn: (message: string) => void;
  readonly width: number;
}

/** A row, of one of several threads. */
interface ThreadRow extends ActivityRow {
  readonly thread: number;
  readonly intervalMs: number;
}

const VALUES: Readonly<Record<SortKey, (row: ActivityRow) => number>> = {
  late: ({ latestMs }) => latestMs,
  run: ({ longestMs }) => longestMs,
  wait: ({ waitMs, waits }) => waitMs + waits / 1e6,
  cpu: ({ runMs }) => runMs,
};

const ENTER_SCREEN = '\u001b[?1049h\u001b[?25l';
const LEAVE_SCREEN = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_REST = '\u001b[J';
const CONTROL_C = '\u0003';

/**
 * Shows what a process does, again and again.
 *
 * @internal
 */
export async function top(options: TopOptions): Promise<void> {
  const connections = await connect(options);
  const [connection] = connections;
  try {
    if (
      connection === undefined ||
      connections.some(({ name }) => name.pid !== connection.name.pid)
    ) {
      const pids = [...new Set(connections.map(({ name }) => name.pid))].join(', ');
      throw new Failure(`several processes answer, so name one of them: ${pids}`, 2);
    }
    const isLive = options.output.isTTY && !options.json;
    await (isLive ? new Screen(connections, options).run() : printSamples(connections, options));
  } finally {
    for (const one of connections) one.close();
  }
}

function pause(forMs: number): Promise<void> {
  return new Promise((resolve) => {
    real.setTimeout(resolve, forMs);
  });
}

async function printSamples(
  connections: readonly Connection[],
  options: TopOptions,
): Promise<void> {
  const { intervalMs, count, json, sort, width, print, warn } = options;
  const threads = new Threads(connections, warn);
  await threads.take();
  for (let n = 0; n < count; n++) {
    await pause(intervalMs);
    const all = await threads.take();
    if (json) for (const { process, sample } of all) print(cleanJson({ ...process, ...sample }));
    else for (const line of formatSamples(all, sort, width)) print(line);
  }
}

const COLUMNS: readonly Column<ThreadRow>[] = [
  { title: 'NAME', of: ({ name }) => clean(name), takesRest: true },
  { title: 'WORKQUEUE', of: ({ workqueue }) => fit(clean(workqueue), 16) },
  { title: 'CALLS', of: ({ entered }) => `${entered}`, isNumber: true },
  { title: 'OPEN', of: ({ running }) => `${running}`, isNumber: true },
  {
    title: 'CPU %',
    of: ({ runMs, intervalMs }) => ((100 * runMs) / Math.max(intervalMs, 1)).toFixed(1),
    isNumber: true,
  },
  { title: 'RUN ms', of: ({ longestMs }) => ms(longestMs), isNumber: true },
  { title: 'LATE ms', of: ({ latestMs }) => ms(latestMs), isNumber: true },
  { title: 'WAIT ms', of: ({ waitMs }) => ms(waitMs), isNumber: true },
  { title: 'FAILED', of: ({ failed }) => `${failed}`, isNumber: true },
];
const THREAD: Column<ThreadRow> = {
  title: 'THREAD',
  of: ({ thread }) => `${thread}`,
  isNumber: true,
};

function mb(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

function percentOf(part: number, intervalMs: number): string {
  return `${((100 * part) / Math.max(intervalMs, 1)).toFixed(0)} %`;
}

/**
 * The lines of one sample of each thread of a process; none without a sample.
 *
 * @internal
 */
export function formatSamples(all: readonly Sampled[], sort: SortKey, width: number): string[] {
  const [first] = all;
  if (first === undefined) return [];
  const { process, sample } = first;
  const isOne = all.length === 1;
  const rows = all
    .flatMap(({ process: { thread }, sample: { intervalMs, rows: some } }) =>
      some.map((row): ThreadRow => ({ ...row, thread, intervalMs })),
    )
    .toSorted((a, b) => VALUES[sort](b) - VALUES[sort](a) || b.entered - a.entered);
  return [
    `${clean(titleOf(process))}, up ${duration(process.uptimeS * 1000)}`,
    ...(isOne ? lonelyLines(sample) : all.flatMap((one, at) => threadLines(one, at))),
    ...lagLines(sample),
    `in ${duration(sample.intervalMs)}, by ${sort}:`,
    ...table(isOne ? COLUMNS : [THREAD, ...COLUMNS], rows, width),
  ].map((line) => fit(line, width));
}

function lonelyLines(sample: SampleLine): string[] {
  const { intervalMs, cpuMs, activeMs, rssBytes, heapBytes } = sample;
  const busy = `CPU ${percentOf(cpuMs, intervalMs)}, event loop ${percentOf(activeMs, intervalMs)}`;
  return [`${busy}, RSS ${mb(rssBytes)}, heap ${mb(heapBytes)}`, handText(sample)];
}

/** CPU time and RSS are those of the process, the rest is that of a thread. */
function threadLines({ process: { thread }, sample }: Sampled, at: number): string[] {
  const { intervalMs, cpuMs, activeMs, rssBytes, heapBytes } = sample;
  const whole = `CPU ${percentOf(cpuMs, intervalMs)}, RSS ${mb(rssBytes)}`;
  const own = `event loop ${percentOf(activeMs, intervalMs)}, heap ${mb(heapBytes)}`;
  return [...(at === 0 ? [whole] : []), `thread ${thread}: ${own}, ${handText(sample)}`];
}

function handText({ kernels }: SampleLine): string {
  let [pending, queued, running] = [0, 0, 0];
  for (const kernel of kernels) {
    pending += kernel.pending;
    queued += kernel.queued;
    running += kernel.running;
  }
  return `${running} running, ${queued} queued, ${pending} pending`;
}

function lagLines({ kernels }: SampleLine): string[] {
  const cpus = kernels.flatMap((kernel) => kernel.cpus);
  if (cpus.every(({ index }) => index === 0)) return [];
  const states = cpus.map(({ index, state, lagMs }) => {
    return `${index} ${state}${lagMs > 0 ? `, blocked for ${duration(lagMs)}` : ''}`;
  });
  return [`CPUs: ${states.join('; ')}`];
}

/** A terminal that is drawn again for each sample, for each key, and when its size has changed. */
class Screen {
  readonly #threads: Threads;
  readonly #options: TopOptions;
  #sort: SortKey;
  /** What is shown. */
  #shown: readonly Sampled[] = [];
  #isPaused = false;
  #isOver = false;
  /** Ends a pause between two samples. */
  #wake: () => void = () => undefined;

  constructor(connections: readonly Connection[], options: TopOptions) {
    // What is told of a thread that has ended would be drawn over.
    this.#threads = new Threads(connections, () => undefined);
    this.#options = options;
    this.#sort = options.sort;
  }

  async run(): Promise<void> {
    const { input, output, count } = this.#options;
    const press = (keys: string): void => this.#press(keys);
    const draw = (): void => this.#draw();
    const leave = (): void => this.#end();
    output.write(ENTER_SCREEN);
    if (input.isTTY) input.setRawMode(true);
    input.setEncoding('utf8').on('data', press);
    output.on('resize', draw);
    process.on('SIGTERM', leave);
    process.on('SIGHUP', leave);
    try {
      await this.#sample();
      for (let n = 0; n < count && !this.#isOver; n++) {
        await this.#pause();
        if (!this.#isOver) await this.#sample();
        draw();
      }
    } finally {
      process.off('SIGTERM', leave);
      process.off('SIGHUP', leave);
      output.off('resize', draw);
      input.off('data', press);
      if (input.isTTY) input.setRawMode(false);
      input.pause();
      output.write(LEAVE_SCREEN);
    }
  }

  /** Waits for the next sample, or until a key ends this. */
  async #pause(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = real.setTimeout(resolve, this.#options.intervalMs);
      this.#wake = () => {
        real.clearTimeout(timer);
        resolve();
      };
    });
  }

  async #sample(): Promise<void> {
    const asked = this.#threads.watch(() => this.#draw());
    // A key can end it while the process does not answer.
    const ended = new Promise<void>((resolve) => (this.#wake = resolve));
    await race([asked, ended]);
    if (!this.#isPaused) this.#shown = this.#threads.last;
  }

  #press(keys: string): void {
    for (const key of keys) {
      if (key === 'q' || key === CONTROL_C) this.#end();
      else if (key === 'p') this.#isPaused = !this.#isPaused;
      else this.#sort = SORT_KEYS.find((name) => name.startsWith(key)) ?? this.#sort;
    }
    this.#draw();
  }

  #end(): void {
    this.#isOver = true;
    this.#wake();
  }

  #draw(): void {
    const { output } = this.#options;
    const { columns, rows } = output;
    const keys = 'keys: l late  r run  w wait  c cpu  p pause  q quit';
    const state = this.#silence() ?? (this.#isPaused ? 'paused' : keys);
    const text = formatSamples(this.#shown, this.#sort, columns);
    const lines = [...text.slice(0, rows - 1), fit(state, columns)];
    output.write(HOME + lines.map((line) => line + CLEAR_LINE).join('\r\n') + CLEAR_REST);
  }

  /** What is said about threads that do not answer. */
  #silence(): string | undefined {
    const { silent } = this.#threads;
    if (silent.length === 0) return undefined;
    const isOne = this.#threads.size === 1;
    const who = silent.map(({ thread, ms: forMs }) => {
      return `${isOne ? '' : ` of thread ${thread}`} for ${duration(forMs)}`;
    });
    return `no answer${who.join(',')}: the event loop is blocked`;
  }
}

import type { ReadStream, WriteStream } from 'node:tty';
import { real } from '../../base/host-functions.ts';
import { duration } from '../duration.ts';
import type { ActivityRow, Line, ProcessLine, SampleLine } from '../socket/protocol.ts';
import { Failure, connect, titleOf, type Connection, type Target } from './connection.ts';
import { clean, cleanJson, fit, ms, table, type Column } from './text.ts';

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
  readonly width: number;
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
    await (isLive ? new Screen(connection, options).run() : printSamples(connection, options));
  } finally {
    for (const one of connections) one.close();
  }
}

/** One answer. */
interface Sampled {
  readonly process: ProcessLine;
  readonly sample: SampleLine;
}

async function sampleOf(connection: Connection, late?: (ms: number) => void): Promise<Sampled> {
  const lines: Line[] = [];
  await connection.ask('sample', (line) => lines.push(line), late);
  const process = lines.find((line) => line.type === 'process');
  const sample = lines.find((line) => line.type === 'sample');
  if (process === undefined || sample === undefined) {
    throw new Failure(`process ${connection.name.pid} does not answer as kcont does`);
  }
  return { process, sample };
}

function pause(forMs: number): Promise<void> {
  return new Promise((resolve) => {
    real.setTimeout(resolve, forMs);
  });
}

async function printSamples(connection: Connection, options: TopOptions): Promise<void> {
  const { intervalMs, count, json, sort, width, print } = options;
  await sampleOf(connection);
  for (let n = 0; n < count; n++) {
    await pause(intervalMs);
    const { process, sample } = await sampleOf(connection);
    if (json) print(cleanJson({ ...process, ...sample }));
    else for (const line of formatSample(process, sample, sort, width)) print(line);
  }
}

/** The columns for an interval of so many ms. */
const columnsFor = (intervalMs: number): readonly Column<ActivityRow>[] => [
  { title: 'NAME', of: ({ name }) => clean(name), takesRest: true },
  { title: 'WORKQUEUE', of: ({ workqueue }) => fit(clean(workqueue), 16) },
  { title: 'CALLS', of: ({ entered }) => `${entered}`, isNumber: true },
  { title: 'OPEN', of: ({ running }) => `${running}`, isNumber: true },
  {
    title: 'CPU %',
    of: ({ runMs }) => ((100 * runMs) / Math.max(intervalMs, 1)).toFixed(1),
    isNumber: true,
  },
  { title: 'RUN ms', of: ({ longestMs }) => ms(longestMs), isNumber: true },
  { title: 'LATE ms', of: ({ latestMs }) => ms(latestMs), isNumber: true },
  { title: 'WAIT ms', of: ({ waitMs }) => ms(waitMs), isNumber: true },
  { title: 'FAILED', of: ({ failed }) => `${failed}`, isNumber: true },
];

/**
 * The lines of one sample.
 *
 * @internal
 */
export function formatSample(
  process: ProcessLine,
  sample: SampleLine,
  sort: SortKey,
  width: number,
): string[] {
  const { intervalMs, cpuMs, activeMs, rssBytes, heapBytes, kernels, rows } = sample;
  const percent = (part: number): string =>
    `${((100 * part) / Math.max(intervalMs, 1)).toFixed(0)} %`;
  const mb = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  let [pending, queued, running] = [0, 0, 0];
  for (const kernel of kernels) {
    pending += kernel.pending;
    queued += kernel.queued;
    running += kernel.running;
  }
  const sorted = rows.toSorted(
    (a, b) => VALUES[sort](b) - VALUES[sort](a) || b.entered - a.entered,
  );
  return [
    `${clean(titleOf(process))}, up ${duration(process.uptimeS * 1000)}`,
    `CPU ${percent(cpuMs)}, event loop ${percent(activeMs)}, RSS ${mb(rssBytes)}, heap ${mb(heapBytes)}`,
    `${running} running, ${queued} queued, ${pending} pending`,
    ...lagLines(sample),
    `in ${duration(intervalMs)}, by ${sort}:`,
    ...table(columnsFor(intervalMs), sorted, width),
  ].map((line) => fit(line, width));
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
  readonly #connection: Connection;
  readonly #options: TopOptions;
  #sort: SortKey;
  #last: Sampled | null = null;
  #note = '';
  #isPaused = false;
  #isOver = false;
  /** Ends a pause between two samples. */
  #wake: () => void = () => undefined;

  constructor(connection: Connection, options: TopOptions) {
    this.#connection = connection;
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
    const asked = sampleOf(this.#connection, (silentMs) => {
      this.#note = `no answer for ${duration(silentMs)}: the event loop is blocked`;
      this.#draw();
    });
    // A key can end it while the process does not answer.
    const ended = new Promise<null>((resolve) => (this.#wake = () => resolve(null)));
    const sampled = await new Promise<Sampled | null>((resolve, reject) => {
      asked.then(resolve, reject);
      void ended.then(resolve);
    });
    if (sampled === null) return;
    this.#note = '';
    if (!this.#isPaused) this.#last = sampled;
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
    const state = this.#note !== '' ? this.#note : this.#isPaused ? 'paused' : keys;
    const last = this.#last;
    const text = last === null ? [] : formatSample(last.process, last.sample, this.#sort, columns);
    const lines = [...text.slice(0, rows - 1), fit(state, columns)];
    output.write(HOME + lines.map((line) => line + CLEAR_LINE).join('\r\n') + CLEAR_REST);
  }
}

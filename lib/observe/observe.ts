import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { KcontError, traceFrom } from '../base/errors.ts';
import {
  ANYTHING,
  FLAG,
  FUNCTION,
  PATIENCE,
  kindOf,
  numberOf,
  optionsOf,
  readOptions,
} from '../base/options-check.ts';
import { kernel as processKernel, type Kernel } from '../core/kernel.ts';
import { listen } from './debug/debug-mode.ts';
import type { Finding } from './debug/finding.ts';
import { duration } from './duration.ts';
import { inLine } from './in-line.ts';
import { allObservers, observerOf } from './kernel-observer.ts';
import { KERNEL } from './list.ts';
import { Parts } from './parts.ts';
import { publishStall } from './publisher.ts';
import {
  FlightRecorder,
  readRecordOptions,
  type RecordOptions,
  type Recording,
} from './recorder/recording.ts';
import { reportInSlices } from './report.ts';
import { openSocket } from './socket/server.ts';
import { StallDetector } from './stall-detector.ts';
import type { Stall, StallLimits } from './stall.ts';
import type { Block } from './watch-words.ts';
import { Watcher, type Watched } from './watcher.ts';

/**
 * Optional settings of {@link observe}.
 *
 * @public
 */
export interface ObserveOptions {
  /**
   * A signal of the operating system, such as `'SIGUSR2'`, that prints the {@link report} of each kernel. Not
   * `'SIGKILL'` and `'SIGSTOP'`, which no process can handle. On the main thread only, where signals arrive. Default:
   * none.
   */
  signal?: NodeJS.Signals;
  /** Gets the text of reports. Default: it is written to the standard error stream. */
  write?: (text: string) => void;
  /** The kernel whose stalls are looked for. Default: the process-wide kernel. */
  kernel?: Kernel;
  /**
   * Looks for stalls, with these limits; `{}`: with the default ones. Default: `{}` with `onStall` or `watch`;
   * otherwise no stalls are looked for.
   */
  limits?: StallLimits;
  /**
   * Starts a thread that watches the event loop, and reports a function that blocks it while it still does, even if
   * it never returns: by a line on the standard error stream, with the stack of the main thread. With `record`, it
   * also writes a file. Default false.
   */
  watch?: boolean;
  /**
   * Starts the flight recorder of the kernel, which keeps the last records of what continuations did: see
   * {@link Recording}. On the process-wide kernel, it also records the CPUs that are started later and whose module
   * imports `kcont/observe`. Default false.
   */
  record?: boolean | RecordOptions;
  /**
   * Opens a socket on which `npx kcont ps` and `npx kcont top` get to know what the kernels of this thread do. Only the
   * user of this process can connect; no request can change anything, and the socket does not keep the process alive.
   * Default false.
   */
  socket?: boolean;
  /**
   * Called with each stall that is found, soon after it was found. What it throws becomes an uncaught exception.
   * Default: the message is written, as reports are.
   */
  onStall?: (stall: Stall) => void;
  /**
   * Called with each mistake that debug mode finds, soon after it was found. If the kernel is not in debug mode, it is
   * until this observation ends. What it throws becomes an uncaught exception. Default: in debug mode, mistakes are
   * written to the standard error stream.
   */
  onFinding?: (finding: Finding) => void;
}

/** Signals that no process can handle. */
const UNHANDLED: ReadonlySet<string> = new Set(['SIGKILL', 'SIGSTOP']);

const OPTIONS = optionsOf<ObserveOptions>('observe', {
  signal: kindOf(
    'the name of a signal that a process can handle',
    (value) =>
      typeof value === 'string' && Object.hasOwn(constants.signals, value) && !UNHANDLED.has(value),
  ),
  write: FUNCTION,
  kernel: KERNEL,
  limits: ANYTHING,
  watch: FLAG,
  record: ANYTHING,
  socket: FLAG,
  onStall: FUNCTION,
  onFinding: FUNCTION,
});

const LIMIT = numberOf('a number of ms > 0', Number.MIN_VALUE, Infinity);
const STALLS = optionsOf<StallLimits>('limits', {
  functionMs: LIMIT,
  blockMs: LIMIT,
  lateMs: LIMIT,
  lockMs: LIMIT,
  runMs: LIMIT,
  starvedMs: LIMIT,
  intervalMs: PATIENCE,
});

/** Reads the limits of stalls, and fills in the defaults. */
function readLimits(given: StallLimits): Required<StallLimits> {
  const limits = readOptions(given, STALLS, observe);
  const {
    functionMs = 50,
    blockMs = 1000,
    lateMs = 100,
    lockMs = 1000,
    runMs = 30_000,
    starvedMs = 1000,
    intervalMs = 10_000,
  } = limits;
  return { functionMs, blockMs, lateMs, lockMs, runMs, starvedMs, intervalMs };
}

/**
 * What {@link observe} has started.
 *
 * @public
 */
export interface Observation {
  /** The flight recorder; null without the option `record`. */
  readonly recording: Recording | null;
  /** Ends it. Further calls have no effect. */
  stop(): void;
  /** The same as `stop`, for `using`. */
  [Symbol.dispose](): void;
}

/**
 * Starts to report on the kernels of this thread, as the options say.
 *
 * @remarks
 * A handler of a signal does not keep the process alive. A signal that is sent while a function blocks the event
 * loop is handled when the function has returned. Its report is made in slices of about 2 ms, between which the event
 * loop goes on; a further signal meanwhile has no effect.
 *
 * @param options - what is to be reported, and how; nothing by default
 * @returns an object that ends it
 * @throws KcontError EINVAL for an invalid option, ENOTSUP for a signal that this operating system does not have or on
 * a worker thread, EPERM if there is no folder for the socket that no other user can change; what the system throws if
 * it has no memory or no thread. Nothing has been started then
 *
 * @example
 * ```ts
 * observe({ signal: 'SIGUSR2' }); // kill -USR2 PID prints what the process does and waits for
 * ```
 *
 * @public
 */
export function observe(options?: ObserveOptions): Observation {
  const given = readOptions(options, OPTIONS, observe);
  const {
    signal,
    write = toStderr,
    onStall,
    onFinding,
    kernel = processKernel,
    watch = false,
  } = given;
  const { limits: asked = onStall === undefined && !watch ? undefined : {} } = given;
  const limits = asked === undefined ? undefined : readLimits(asked);
  const record = readRecordOptions(given.record, observe);
  if (signal !== undefined && !isMainThread) {
    const what = 'signals arrive on the main thread only: call observe({ signal }) there';
    throw traceFrom(observe, new KcontError('ENOTSUP', what));
  }
  const parts = new Parts();
  try {
    if (given.socket === true) parts.add(openSocket());
    if (signal !== undefined) parts.add(printAt(signal, write));
    const observer = observerOf(kernel);
    if (limits !== undefined) {
      const tell = onStall ?? ((stall: Stall): void => write(`kcont: ${stall.message}\n`));
      const detector = new StallDetector(observer, limits, tell);
      parts.add(() => detector.stop());
    }
    const recorder = record === undefined ? null : new FlightRecorder(kernel, record);
    parts.add(() => recorder?.stop());
    if (limits !== undefined && watch) {
      const { blockMs } = limits;
      const watcher = new Watcher(observer, blockMs, recorder, (watched, block) => {
        const stall = stallOf(watched, block, blockMs, kernel.now());
        publishStall(kernel, stall);
        onStall?.(stall);
      });
      parts.add(() => watcher.stop());
    }
    if (onFinding !== undefined) parts.add(listen(kernel, onFinding));
    const stop = (): void => parts.stop();
    return { recording: recorder, stop, [Symbol.dispose]: stop };
  } catch (error) {
    parts.stop();
    throw traceFrom(observe, error);
  }
}

/** Prints reports when a signal arrives. Returns what ends that. */
function printAt(signal: NodeJS.Signals, write: (text: string) => void): () => void {
  const printer = new Printer(write);
  const print = (): void => printer.print();
  try {
    process.on(signal, print);
  } catch {
    throw new KcontError('ENOTSUP', `this operating system has no ${signal}`);
  }
  return () => process.off(signal, print);
}

/** The stall of a block that the watching thread has found. */
function stallOf(watched: Watched, { ms, stack }: Block, limitMs: number, atMs: number): Stall {
  const { name, workqueue } = watched;
  const message = `${name} on ${workqueue} had blocked the event loop for ${duration(ms)} when it was found`;
  const rest = { id: null, lock: null, holders: [], waiting: 0, suppressed: 0 };
  return { kind: 'block', message: inLine(message), ...watched, ms, limitMs, atMs, ...rest, stack };
}

/** Prints reports, which are made in slices. */
class Printer {
  readonly #write: (text: string) => void;
  #isBusy = false;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  /** A signal that comes while a report is being made asks for the same. */
  print(): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    void reportAll().then((text) => {
      this.#isBusy = false;
      // What it throws is an uncaught exception, as in a handler of a signal.
      queueMicrotask(() => this.#write(text));
    });
  }
}

/** The reports of the process-wide kernel, and of all others that have something in hand. */
async function reportAll(): Promise<string> {
  let text = '';
  let number = 0;
  for (const observer of Array.from(allObservers())) {
    number++;
    const { kernel } = observer.dispatcher;
    if (number > 1 && isIdle(kernel)) continue;
    const title = number === 1 ? 'the process-wide kernel' : `kernel ${number}`;
    text += `kcont, process ${process.pid}: ${title}\n${await reportInSlices(observer)}`;
  }
  return text;
}

function isIdle(kernel: Kernel): boolean {
  const { pending, queued, running } = kernel.inspect();
  return pending + queued + running === 0;
}

function toStderr(text: string): void {
  process.stderr.write(text);
}

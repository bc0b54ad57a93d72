/*
 * The flight recorder of a process: the rings of its CPUs, and the files that are written from them.
 *
 *   CPU 0                                     another CPU
 *   observe({ record: true })                 import 'kcont/observe'
 *   creates the memory of all rings,          finds the memory there, if its kernel is a CPU,
 *   and leaves it in the environment data     and records into the ring with its index
 *   that new worker threads get
 */

import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import { traceFrom, type Caller } from '../../base/errors.ts';
import {
  FLAG,
  NAME,
  PATIENCE,
  check,
  integerOf,
  numberOf,
  optionsOf,
  readOptions,
} from '../../base/options-check.ts';
import { nothing } from '../../base/nothing.ts';
import { kernel as processKernel, type Kernel } from '../../core/kernel.ts';
import { HostClock, commonMs } from '../../time/host-clock.ts';
import { observerOf } from '../kernel-observer.ts';
import { flightRecords, type FlightRecord } from './records.ts';
import { Recorder } from './recorder.ts';
import { writeOrTell, writeRecording } from './recording-file.ts';
import { MOST_CPUS, Ring, createRings } from './ring.ts';
import { readRings, type Rings } from './rings.ts';

/**
 * Optional settings of the flight recorder: see {@link ObserveOptions.record}.
 *
 * @public
 */
export interface RecordOptions {
  /**
   * How many records are kept for each CPU, 1024 to 4194304, rounded up to a power of two. One takes 24 bytes; a run
   * of a timer takes four. Default 32768.
   */
  records?: number;
  /** The folder of files whose name is not given. Default: the working directory. */
  folder?: string;
  /** Whether an uncaught exception writes a file, at most one in 10 s. Default true. */
  onException?: boolean;
}

/**
 * Which records are returned by {@link Recording.records}.
 *
 * @public
 */
export interface RecordsFilter {
  /** Those from this time on, in ms as of `kernel.now()`, 0 or more. Default: 10 s ago. */
  sinceMs?: number;
  /** At most so many, the newest, 1 or more. Default Infinity. */
  limit?: number;
}

/**
 * A flight recorder that is running: see {@link Observation.recording}.
 *
 * @public
 */
export interface Recording {
  /**
   * Writes what is recorded to a file that Perfetto and `npx kcont replay` read. Takes about 10 ms for every 1000
   * records, during which the event loop is blocked. May be called after the recording has ended.
   *
   * @param file - the file, which is replaced. Default: a new one in `folder`
   * @returns the path of the file
   * @throws KcontError EINVAL if it is not a string or empty; what the file system throws
   */
  dump(file?: string): string;
  /**
   * Returns records of all CPUs, in the order of their times.
   *
   * @param filter - which records. Default: those of the last 10 s
   * @returns the records
   * @throws KcontError EINVAL for an invalid option
   */
  records(filter?: RecordsFilter): FlightRecord[];
}

const FEWEST = 1024;
const MOST = 2 ** 22;
const RECORDS = 32_768;
const OPTIONS = optionsOf<RecordOptions>('record', {
  records: numberOf(`a number from ${FEWEST} to ${MOST}`, FEWEST, MOST),
  folder: NAME,
  onException: FLAG,
});
const FILTER = optionsOf<RecordsFilter>('records', {
  sinceMs: PATIENCE,
  limit: integerOf('an integer >= 1 or Infinity', 1, Infinity),
});
const RECENT_MS = 10_000;
/** Exceptions write one file in this time. */
const EXCEPTIONS_MS = 10_000;
/** Where other threads find the rings. */
const KEY = 'kcont/observe: rings';

/**
 * Checks the options of the flight recorder.
 *
 * @internal
 */
export function readRecordOptions(
  given: boolean | RecordOptions | undefined,
  caller: Caller,
): Required<RecordOptions> | undefined {
  if (given === undefined || given === false) return undefined;
  const options = readOptions(given === true ? undefined : given, OPTIONS, caller);
  const { records = RECORDS, folder = process.cwd(), onException = true } = options;
  return { records: 2 ** Math.ceil(Math.log2(records)), folder, onException };
}

/**
 * Records one kernel on this thread, and for the process-wide kernel, on the CPUs that are started from now on.
 *
 * @internal
 */
export class FlightRecorder implements Recording {
  readonly rings: Rings;
  readonly recorder: Recorder;
  readonly #kernel: Kernel;
  readonly #stopDumping: () => void;

  /** @param options - undefined: records into rings that another thread has created */
  constructor(kernel: Kernel, options: Required<RecordOptions> | Rings) {
    const observer = observerOf(kernel);
    const { clock, budgetMs } = observer.dispatcher;
    const { index } = kernel._cpu;
    this.#kernel = kernel;
    let rings: Rings;
    if ('buffer' in options) rings = options;
    else {
      const { records: capacity, folder, onException } = options;
      const isHosts = clock instanceof HostClock;
      const cpus = kernel === processKernel ? MOST_CPUS : 1;
      const buffer = createRings(cpus, capacity);
      const originMs = isHosts ? commonMs() - clock.now : 0;
      rings = { buffer, cpus, capacity, originMs, isHosts, budgetMs, folder, onException };
    }
    this.rings = rings;
    this.#stopDumping = rings.onException ? dumpOnException(rings) : nothing;
    try {
      this.recorder = new Recorder(observer, new Ring(rings.buffer, index, rings.capacity));
    } catch (error) {
      this.#stopDumping();
      throw error;
    }
    // Other CPUs find them from now on.
    if (rings !== options && rings.cpus > 1) setEnvironmentData(KEY, rings);
  }

  stop(): void {
    this.recorder.stop();
    this.#stopDumping();
    const given = sharedRings();
    if (given?.buffer === this.rings.buffer && isMainThread) setEnvironmentData(KEY, undefined);
  }

  dump(file?: string): string {
    try {
      if (file !== undefined) check('file', NAME, file);
    } catch (error) {
      throw traceFrom(this.dump, error);
    }
    return writeRecording(readRings(this.rings, 'on demand'), this.rings.folder, file);
  }

  records(filter?: RecordsFilter): FlightRecord[] {
    const { originMs } = this.rings;
    const options = readOptions(filter, FILTER, this.records);
    const { sinceMs = this.#kernel.now() - RECENT_MS, limit = Infinity } = options;
    const { cpus } = readRings(this.rings, '', sinceMs + originMs);
    const all = cpus.flatMap((cpu) => flightRecords(cpu, originMs));
    if (cpus.length > 1) all.sort((a, b) => a.atMs - b.atMs);
    return all.length > limit ? all.slice(-limit) : all;
  }
}

/** Writes a file when an exception is not caught, which may end the process. Returns what ends this. */
function dumpOnException(rings: Rings): () => void {
  let lastMs = -Infinity;
  const dump = (): void => {
    const nowMs = commonMs();
    if (nowMs - lastMs < EXCEPTIONS_MS) return;
    lastMs = nowMs;
    process.stderr.write(`kcont: ${writeOrTell(rings, 'an uncaught exception')}\n`);
  };
  process.on('uncaughtExceptionMonitor', dump);
  return () => process.off('uncaughtExceptionMonitor', dump);
}

/**
 * The rings of the flight recorder of the process-wide kernel; undefined: it is not running.
 *
 * @internal
 */
export function sharedRings(): Rings | undefined {
  return getEnvironmentData(KEY) as Rings | undefined;
}

/** The recorder of this thread if another one has created its memory. */
let joined: FlightRecorder | null = null;

/**
 * Records this thread if it is a CPU, and CPU 0 records.
 *
 * @internal
 */
export function joinRecording(kernel: Kernel): void {
  const rings = sharedRings();
  if (joined !== null || isMainThread || rings === undefined || kernel._cpu.index === 0) return;
  joined = new FlightRecorder(kernel, rings);
}

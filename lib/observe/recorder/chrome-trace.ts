/*
 * Writes a recording in the Chrome trace event format, as JSON, which Perfetto and chrome://tracing open:
 *
 *   a process per CPU, in it a thread (a track) per priority, the highest first
 *   X      a function, from when it was called until it returned
 *   b, e   an asynchronous run, until its promise settled; a wait for a lock
 *   s, f   from the function that held the lock to the one that waited for it
 *   i      schedule, expire, stop
 *
 * Readers of this format skip keys that they do not know: `kcont`, the last one, holds the records themselves, for
 * `kcont replay`. There must be nothing after the last brace, which Perfetto would take for a second trace.
 *
 * Source: "Trace Event Format", Google; json_trace_tokenizer.cc of Perfetto.
 */

import { flightRecords, type FlightRecord, type Recorded } from './records.ts';
import { runsOf, type Run } from './runs.ts';

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly id?: string;
  readonly bp?: 'e';
  readonly s?: 't';
  readonly args?: object;
}

const US_PER_MS = 1000;
/** How many events are put into one chunk of text. */
const CHUNK = 500;

/**
 * Returns the text of a file, in chunks.
 *
 * @internal
 */
export function* traceText(recorded: Recorded): Generator<string, void, undefined> {
  const { pid, wallMs, reason } = recorded;
  const otherData = { producer: 'kcont', pid, reason, writtenMs: wallMs };
  yield `{"displayTimeUnit":"ms","otherData":${JSON.stringify(otherData)},"traceEvents":[\n`;
  const events = traceEvents(recorded);
  for (let at = 0; at < events.length; at += CHUNK) {
    const some = events.slice(at, at + CHUNK).map((event) => JSON.stringify(event));
    yield `${at === 0 ? '' : ',\n'}${some.join(',\n')}`;
  }
  const { cpus, ...head } = recorded;
  yield `\n],"kcont":${JSON.stringify(head).slice(0, -1)},"cpus":[`;
  for (const [index, { records, ...cpu }] of cpus.entries()) {
    yield `${index === 0 ? '' : ','}\n${JSON.stringify(cpu).slice(0, -1)},"records":[`;
    for (let at = 0; at < records.length; at += CHUNK) {
      const some = records.slice(at, at + CHUNK).map((record) => JSON.stringify(record));
      yield `${at === 0 ? '' : ','}\n${some.join(',')}`;
    }
    yield ']}';
  }
  yield ']}}';
}

/** When the recording began, on the clock of its records. @internal */
export function beginMs({ cpus, nowMs }: Recorded): number {
  let first = nowMs;
  for (const { records } of cpus) for (const [atMs] of records) first = Math.min(first, atMs);
  return first;
}

function traceEvents(recorded: Recorded): TraceEvent[] {
  const fromMs = beginMs(recorded);
  const names: TraceEvent[] = [];
  const events: TraceEvent[] = [];
  for (const cpu of recorded.cpus) {
    const pid = cpu.cpu + 1;
    const records = flightRecords(cpu, fromMs);
    nameTracks(names, `CPU ${cpu.cpu} of process ${recorded.pid}`, pid, records);
    const { runs } = runsOf(records, recorded.nowMs - fromMs);
    for (const record of records) addInstant(events, record, pid);
    addRuns(events, runs, pid);
  }
  // Stable: a flow follows the function to which it is bound.
  events.sort((a, b) => (a.ts as number) - (b.ts as number));
  return [...names, ...events];
}

/** The track of a priority. Never 0, which some readers take for a missing one. */
function trackOf({ priority }: FlightRecord): number {
  return priority + 1;
}

function nameTracks(
  names: TraceEvent[],
  title: string,
  pid: number,
  records: readonly FlightRecord[],
): void {
  const meta = (name: string, tid: number, args: object): void => {
    names.push({ name, ph: 'M', pid, tid, args });
  };
  meta('process_name', 0, { name: title });
  meta('process_sort_index', 0, { sort_index: pid });
  const workqueues = new Map<number, Set<string>>();
  for (const { priority, workqueue } of records) {
    const known = workqueues.get(priority);
    if (known === undefined) workqueues.set(priority, new Set([workqueue]));
    else known.add(workqueue);
  }
  for (const [priority, of] of workqueues) {
    meta('thread_name', priority + 1, { name: `priority ${priority}: ${[...of].join(', ')}` });
    meta('thread_sort_index', priority + 1, { sort_index: -priority });
  }
}

const INSTANTS: ReadonlySet<string> = new Set(['schedule', 'expire', 'stop']);

function addInstant(events: TraceEvent[], record: FlightRecord, pid: number): void {
  const { kind, atMs, id, delayMs } = record;
  if (!INSTANTS.has(kind)) return;
  const args = kind === 'schedule' ? { id, delayMs } : { id };
  const name = `${kind} ${record.name}`;
  events.push({ name, ph: 'i', s: 't', cat: kind, pid, tid: trackOf(record), ts: us(atMs), args });
}

function addRuns(events: TraceEvent[], runs: readonly Run[], pid: number): void {
  /** By id: the last run that was entered. */
  const last = new Map<number, Run>();
  for (const [index, run] of runs.entries()) {
    const { enter, wait, returnedMs, settledMs, isAsync } = run;
    const tid = trackOf(enter);
    const at = { pid, tid };
    const ts = us(enter.atMs);
    const { name } = enter;
    const dur = us(returnedMs) - ts;
    events.push({ name, ph: 'X', cat: 'run', ...at, ts, dur, args: argsOf(run) });
    const span = (what: string, cat: string, fromMs: number, toMs: number): void => {
      const id = `${pid}-${index}`;
      events.push({ name: what, ph: 'b', cat, id, ...at, ts: us(fromMs) });
      events.push({ name: what, ph: 'e', cat, id, ...at, ts: us(toMs) });
    };
    if (isAsync) span(name, 'async', enter.atMs, settledMs);
    if (wait !== null) {
      span(`${name} waits for ${wait.lock}`, 'lock', wait.atMs, enter.atMs);
      const holder = wait.holder === null ? undefined : last.get(wait.holder);
      if (holder !== undefined) {
        const flow = { name: `lock ${wait.lock}`, cat: 'lock', id: `${pid}-${index}`, pid };
        const middleMs = (holder.enter.atMs + holder.returnedMs) / 2;
        events.push({ ...flow, ph: 's', tid: trackOf(holder.enter), ts: us(middleMs) });
        events.push({ ...flow, ph: 'f', bp: 'e', tid, ts });
      }
    }
    last.set(enter.id, run);
  }
}

function argsOf({ enter, scheduledMs, expiredMs, wait, isOpen, failed, estimated }: Run): object {
  const { id, workqueue, waitedMs, pass } = enter;
  return {
    id,
    function: enter.function,
    workqueue,
    waitedMs,
    pass,
    ...(scheduledMs === null ? {} : { scheduledMs }),
    ...(expiredMs === null ? {} : { expiredMs }),
    ...(wait === null ? {} : { lock: wait.lock, waitedForLockMs: enter.atMs - wait.atMs }),
    ...(isOpen ? { unfinished: true } : {}),
    ...(failed ? { failed } : {}),
    ...(estimated === 0 ? {} : { estimatedBefore: estimated }),
  };
}

/** In us, to the nanosecond. */
function us(ms: number): number {
  return Math.round(ms * US_PER_MS * 1000) / 1000;
}

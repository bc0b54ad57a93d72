// The CPU module of the specs: the functions that run on the CPUs they start. Each thread keeps a record of
// what ran, which `ran` reads.
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MessagePort } from 'node:worker_threads';
import { Kcont, Mutex, curcpu, kern, stopping } from '../../lib/index.ts';
import { transfer } from '../../lib/cpu/index.ts';
import type { SharedMutex } from '../../lib/cpu/index.ts';
import { grabBlocks } from '../../lib/cpu/memory/block-allocator.ts';
import type { LocalCpu } from '../../lib/cpu/local-cpu.ts';

const notes: unknown[] = [];

/** Records its argument, on the CPU on which it runs. */
export function note(arg: unknown): void {
  notes.push(arg);
}

/** Returns what was recorded on this CPU since the last call. */
export function ran(): unknown[] {
  return notes.splice(0);
}

export function increment(value: number): number {
  return value + 1;
}

export function where(): number {
  return curcpu().index;
}

export function echo(value: unknown): unknown {
  return value;
}

/** Blocks the thread. */
export function burn(ms: number): number {
  const until = performance.now() + ms;
  while (performance.now() < until);
  return curcpu().index;
}

export function fail(message: string): never {
  throw Object.assign(new RangeError(message), { code: 'ESPEC', cause: new Error('because') });
}

export function destroyAndFail(message: string, kc: Kcont<string>): never {
  kc.destroy();
  throw new Error(message);
}

export function signalAndFail(running: Int32Array): never {
  Atomics.store(running, 0, 1);
  Atomics.notify(running, 0);
  throw new Error('after all');
}

export async function failLater(message: string): Promise<never> {
  await sleep(1);
  throw new Error(message);
}

export function overflow(): number {
  return overflow() + 1;
}

/** Ends the thread. */
export function exit(code: number): void {
  process.exit(code);
}

/** Throws an error outside of any function. */
export function crash(message: string): void {
  setImmediate(() => {
    throw new Error(message);
  });
}

/** Waits until it is aborted; returns the message of the reason. */
export function untilAborted(_: unknown, signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve((signal.reason as Error).message));
  });
}

/** Waits until it is aborted; returns the reason. */
export function reasonOfAbort(
  _: unknown,
  signal: AbortSignal,
): Promise<{ code: string; message: string }> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => {
      const { code, message } = signal.reason as { code: string; message: string };
      resolve({ code, message });
    });
  });
}

export function sizeOf(buffer: ArrayBuffer): number {
  return buffer.byteLength;
}

/** Runs for a time, without blocking the thread. */
export async function linger(ms: number): Promise<void> {
  await sleep(ms);
}

export function notCloneable(): unknown {
  return () => undefined;
}

export function makeLock(): unknown {
  return { lock: new Mutex() };
}

export function moveBack(buffer: ArrayBuffer): ArrayBuffer {
  return transfer(buffer, [buffer]);
}

export function movesWrongly(what: string): unknown {
  switch (what) {
    case 'nothing of a number':
      return transfer(1, [{}]);
    case 'a number':
      return transfer({}, [1 as never]);
    case 'a text':
      return transfer(1, 'text' as never);
    case 'an object':
      return transfer({}, [{}]);
    default:
      return transfer(1, []);
  }
}

/** Keeps this thread's event loop alive permanently. */
export function leaveOpen(): void {
  setInterval(() => undefined, 1e6);
}

/** Reports that it runs, and never ends. */
export function signalAndBurn(running: Int32Array): void {
  Atomics.store(running, 0, 1);
  Atomics.notify(running, 0);
  for (;;);
}

/** Blocks the thread permanently, by something that no CPU knows of. */
export function burnByItself(running: Int32Array): void {
  setImmediate(signalAndBurn, running);
}

export function addToShared(shared: Int32Array): number {
  return Atomics.add(shared, 0, 1);
}

/** Adds one to a counter in shared memory. */
export function count({ counts, at }: { counts: Int32Array; at: number }): void {
  Atomics.add(counts, at, 1);
}

/** The argument of `stopFrom` and `scheduleFrom`. */
export interface Passed {
  readonly kc: Kcont<unknown>;
  readonly cpu?: number;
  readonly delayMs?: number;
}

export function stopFrom({ kc }: Passed): boolean {
  return kc.stop();
}

export function scheduleFrom({ kc, cpu, delayMs = 0 }: Passed): boolean {
  return kc.schedule(delayMs, cpu === undefined ? null : (kc.wq.kernel.cpus[cpu] ?? null));
}

export function stateFrom({ kc }: Passed): { pending: boolean; running: boolean; name: string } {
  return { pending: kc.pending, running: kc.running, name: kc.name };
}

export const notAFunction = 1;

/** Shared words of a spec and the functions that it runs. */
export const ENTERED = 0;
export const RELEASED = 1;
export const SETTLED = 2;
export const GATE = 3;
export const OPEN = 4;
/** The CPU where it ran last, plus one. */
export const PLACE = 5;
export const WORDS = 6;

export interface Held {
  readonly words: Int32Array;
  readonly ack: boolean;
}

/** Runs until it is released. */
export async function hold({ words, ack }: Held, kc: Kcont<Held>): Promise<void> {
  Atomics.store(words, PLACE, curcpu().index + 1);
  if (ack) kc.ack();
  Atomics.add(words, ENTERED, 1);
  const run = Atomics.load(words, ENTERED);
  while (Atomics.load(words, RELEASED) < run) await sleep(0);
  Atomics.add(words, SETTLED, 1);
}

/** Runs until it is released. The first run schedules itself again, and reports the result: 1 or 2. */
export async function again({ words }: Held, kc: Kcont<Held>): Promise<void> {
  const run = Atomics.add(words, ENTERED, 1) + 1;
  while (Atomics.load(words, RELEASED) < run) await sleep(0);
  if (run === 1) Atomics.store(words, PLACE, kc.reset(1) ? 1 : 2);
}

/** The results of `schedule`, `reset` and the proposal's function for each handle. */
export function answersOf(kcs: readonly Kcont<never>[]): unknown[][] {
  const codeOf = (call: () => boolean): unknown => {
    try {
      return call();
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  return kcs.map((kc) => [
    codeOf(() => kc.schedule(0)),
    codeOf(() => kc.schedule(1e6)),
    codeOf(() => kc.reset(0)),
    codeOf(() => kc.reset(1e6)),
    kern.kcont_schedule(kc, null, 0),
    kern.kcont_schedule(kc, null, 1e6),
  ]);
}

/** Calls the handles on request. */
export async function askLater({
  words,
  kcs,
}: {
  words: Int32Array;
  kcs: readonly Kcont<never>[];
}): Promise<unknown[][]> {
  Atomics.store(words, GATE, 1);
  while (Atomics.load(words, OPEN) === 0) await sleep(0);
  return answersOf(kcs);
}

/** Blocks the whole thread until the gate opens. */
export function gate(words: Int32Array): void {
  Atomics.store(words, GATE, 1);
  Atomics.wait(words, OPEN, 0);
}

/** A log of runs, in order: a cursor, then their entries. */
export function write({ log, what }: { log: Int32Array; what: number }): void {
  log[Atomics.add(log, 0, 1) + 1] = what;
}

/** Blocks the whole thread for a time, and reports that it has begun. */
export function hog({ words, ms }: { words: Int32Array; ms: number }): void {
  Atomics.store(words, GATE, 1);
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** Ends the thread when the gate opens. */
export function die(words: Int32Array): void {
  Atomics.store(words, GATE, 1);
  Atomics.wait(words, OPEN, 0);
  process.exit(7);
}

/** The argument of `tally`: counters of one handle. */
export interface Tally {
  readonly inside: Int32Array;
  readonly entries: Int32Array;
  readonly overlaps: Int32Array;
  readonly at: number;
}

/** Counts its entries, and overlapping ones. */
export function tally({ inside, entries, overlaps, at }: Tally): void {
  if (Atomics.add(inside, at, 1) !== 0) Atomics.add(overlaps, at, 1);
  Atomics.add(entries, at, 1);
  Atomics.sub(inside, at, 1);
}

/** The argument of `meddle`. */
export interface Meddling {
  readonly kcs: readonly Kcont<unknown>[];
  readonly rounds: number;
  readonly seed: number;
  /** Longest delay; 0: only schedules without a delay, which can be counted exactly. */
  readonly delayMs: number;
}

/** A small generator of numbers from 0 to 2^32, by Marsaglia (2003). */
export function randomFrom(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Schedules and stops handles at random, from the CPU on which it runs. */
export async function meddle({
  kcs,
  rounds,
  seed,
  delayMs,
}: Meddling): Promise<{ scheduled: number; cancelled: number }> {
  const random = randomFrom(seed);
  const { cpus } = (kcs[0] as Kcont<unknown>).wq.kernel;
  let scheduled = 0;
  let cancelled = 0;
  for (let round = 0; round < rounds; round++) {
    const kc = kcs[random() % kcs.length] as Kcont<unknown>;
    const what = random() % 8;
    if (what < 4) {
      const cpu = cpus[random() % cpus.length] ?? null;
      if (kc.schedule(delayMs === 0 ? 0 : random() % (delayMs + 1), cpu)) scheduled++;
    } else if (what < 7) cancelled += kc.cancel() & 1;
    else kc.touch();
    // Its own dispatcher should take part.
    if (random() % 64 === 0) await new Promise(setImmediate);
  }
  return { scheduled, cancelled };
}

/** Schedules handles one after the other, on a CPU. */
export function scheduleAll({ kcs, cpu }: { kcs: readonly Kcont<unknown>[]; cpu: number }): void {
  for (const kc of kcs) kc.schedule(0, kc.wq.kernel.cpus[cpu] ?? null);
}

/** The argument of `inLock`. */
export interface Inside {
  readonly log: Int32Array;
  readonly inside: Int32Array;
  readonly what: number;
}

/** Records that it ran, and whether another run overlapped. */
export function inLock({ log, inside, what }: Inside): void {
  const alone = Atomics.add(inside, 0, 1) === 0;
  log[Atomics.add(log, 0, 1) + 1] = alone ? what : -1;
  Atomics.sub(inside, 0, 1);
}

/** Records the same across an await. */
export async function inLockLong(told: Inside): Promise<void> {
  const { log, inside, what } = told;
  const alone = Atomics.add(inside, 0, 1) === 0;
  log[Atomics.add(log, 0, 1) + 1] = alone ? what : -1;
  await new Promise(setImmediate);
  Atomics.sub(inside, 0, 1);
}

/** Takes a lock a number of times, and does something with it held. */
export async function contend({
  lock,
  inside,
  times,
}: {
  lock: SharedMutex;
  inside: Int32Array;
  times: number;
}): Promise<number> {
  let overlaps = 0;
  for (let i = 0; i < times; i++) {
    await lock.enter();
    if (Atomics.add(inside, 0, 1) !== 0) overlaps++;
    await new Promise(setImmediate);
    Atomics.sub(inside, 0, 1);
    lock.exit();
  }
  return overlaps;
}

/** Takes a lock and never releases it. */
export async function grab({
  lock,
  words,
}: {
  lock: SharedMutex;
  words: Int32Array;
}): Promise<void> {
  await lock.enter();
  die(words);
}

/** The current lock of each continuation. */
export function relock({ kc, lock }: { kc: Kcont<unknown>; lock: SharedMutex | null }): void {
  kc.setLock(lock);
}

export function isHeld(lock: SharedMutex): boolean {
  return lock.held;
}

/** Counts, and schedules itself again on the CPU it runs on. */
export function beat({ words, ms }: { words: Int32Array; ms: number }, kc: Kcont<unknown>): void {
  Atomics.add(words, 0, 1);
  Atomics.store(words, PLACE, curcpu().index + 1);
  kc.reset(ms);
}

/** Creates a continuation on this CPU and runs it on another one. */
export function delegate({
  counts,
  at,
  cpu,
}: {
  counts: Int32Array;
  at: number;
  cpu: number;
}): void {
  const { kernel } = curcpu();
  const queue = kernel.acquire(127, { perCpu: true });
  const kc = new Kcont(queue, null, count, { counts, at });
  kc.schedule(0, kernel.cpus[cpu] ?? null);
}

/** Runs a function on another CPU, from this one. */
export function runOn({ cpu, value }: { cpu: number; value: unknown }): Promise<unknown> {
  const { kernel } = curcpu();
  return kernel.acquire(127, { perCpu: true }).run(echo, {
    arg: { value, by: curcpu().index },
    cpu: kernel.cpus[cpu] ?? null,
  });
}

/** The states of all CPUs, as seen from this one. */
export function statesSeen(): string[] {
  return curcpu().kernel.cpus.map(({ index, state }) => `${index} ${state}`);
}

/** Records its priority, by the name of its workqueue. */
export function writePriority(log: Int32Array, kc: Kcont<Int32Array>): void {
  log[Atomics.add(log, 0, 1) + 1] = kc.wq.priority;
}

export function destroyFrom({ kc }: Passed): void {
  kc.destroy();
}

/** Halts it, and reports when that has begun. */
export function haltFrom({ kc, words }: Passed & { words: Int32Array }): Promise<boolean> {
  const halted = kc.halt();
  Atomics.store(words, GATE, 1);
  return halted;
}

/** The pending work of this CPU's kernel. */
export function report(): { pending: number; queued: number; running: number; names: string[] } {
  const { pending, queued, running, workqueues } = curcpu().kernel.inspect();
  const names = workqueues.filter((wq) => wq.queued + wq.running > 0).map(({ name }) => name);
  return { pending, queued, running, names };
}

/** What this CPU still holds of jobs that have ended here. */
export function lastJobHere(): { isKept: boolean; hasArg: boolean } {
  const { lastJob } = (curcpu()._link as LocalCpu).handles;
  return { isKept: lastJob !== undefined, hasArg: lastJob?.arg !== undefined };
}

/** Creates control blocks where no other CPU has looked yet, and dies. */
export function growAndExit(): void {
  const { memory, index } = (curcpu()._link as LocalCpu).context;
  memory.grab(2 ** 15);
  grabBlocks(memory, index, []);
  process.exit(0);
}

let posted = 0;

/** Starts `valuesPosted` on this CPU, permanently. */
export function watchPosts(): void {
  const { postMessage } = MessagePort.prototype;
  MessagePort.prototype.postMessage = function noted(this: MessagePort, message: unknown, list) {
    // Wake-ups and the messages of CPU 0 to a thread do not count as values.
    if (Array.isArray(message)) posted++;
    postMessage.call(this, message, list as never);
  };
}

/** Returns the number of values that this CPU has posted since the last call. */
export function valuesPosted(): number {
  const before = posted;
  posted = 0;
  return before;
}

/** Runs functions with its argument on the next CPU, and changes the argument before they run. */
export async function spread(arg: { n: number }): Promise<number[]> {
  const { wq } = curcpu().kernel;
  const results = Array.from({ length: 4 }, () => wq.prilow.run(numberOf, { arg }));
  arg.n = 3;
  return await Promise.all(results);
}

export function numberOf({ n }: { n: number }): number {
  return n;
}

const watched: WeakRef<object>[] = [];

function watch<V extends object>(value: V): V {
  watched.push(new WeakRef(value));
  return value;
}

/** Watches its argument and its result on this CPU. */
export function useAndReturn(arg: object): object {
  return watch({ arg: watch(arg) });
}

export async function useAndReject(arg: object): Promise<never> {
  await sleep(1);
  throw watch(Object.assign(new Error('watched'), { arg: watch(arg) }));
}

export function useUntilAborted(arg: object, signal: AbortSignal): Promise<object> {
  return new Promise((_, reject) => {
    watch(arg);
    watch(signal);
    signal.addEventListener('abort', () => reject(watch(signal.reason as Error)));
  });
}

/** A continuation's function. */
export function use(arg: object): void {
  watch(arg);
}

/** How many of the watched values on this CPU are still held, and how many there were. */
export function watchedHere(): [held: number, all: number] {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return [watched.filter((ref) => ref.deref() !== undefined).length, watched.length];
}

const traceStore = new AsyncLocalStorage<string>();

/** Has trace contexts followed on this CPU. */
export async function propagateHere(): Promise<void> {
  // Loaded on demand: its import has all kernels of the thread observed.
  const { counters, propagate } = await import('../../lib/observe/index.ts');
  counters(curcpu().kernel);
  propagate({
    capture: () => traceStore.getStore(),
    run: (context, call) => traceStore.run(String(context), call),
    inject: () => undefined,
    extract: ({ traceparent }) => `sent: ${traceparent}`,
  });
}

/** The trace context in which it is called. */
export function contextHere(): string {
  return traceStore.getStore() ?? 'none';
}

/** Says that it is running: sets the first word to 1. */
function begun(words: Int32Array): void {
  Atomics.store(words, 0, 1);
  Atomics.notify(words, 0);
}

/** Keeps the thread busy until it is asked to stop. Returns by what it was seen: never by the signal's event. */
export function loopUntilStopping(words: Int32Array, signal: AbortSignal): string {
  begun(words);
  while (!stopping());
  return `stopping, signal ${signal.aborted ? 'aborted' : 'not aborted'}`;
}

/** The same after an await, about its signal. */
export async function loopAfterAwait(words: Int32Array, signal: AbortSignal): Promise<string> {
  await Promise.resolve();
  begun(words);
  while (!stopping(signal));
  return `stopping, signal ${signal.aborted ? 'aborted' : 'not aborted'}`;
}

/** The function of a continuation: counts in the second word how often it was entered and asked to stop. */
export function loopAsContinuation(words: Int32Array, kc: Kcont<Int32Array>): void {
  Atomics.store(words, 2, kc.stopping ? 1 : 0);
  begun(words);
  while (!stopping());
  Atomics.add(words, 1, 1);
  Atomics.notify(words, 1);
}

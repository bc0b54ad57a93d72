import { duration } from '../duration.ts';
import type { EntryLine, KernelLine, Line, ProcessLine } from '../socket/protocol.ts';
import { Failure, connect, titleOf, type Connection, type Target } from './connection.ts';
import { clean, cleanJson, fit } from './text.ts';

/** Optional settings of `kcont ps`. @internal */
export interface PsOptions extends Target {
  readonly json: boolean;
  /** How many continuations are shown. */
  readonly limit: number;
  readonly width: number;
  readonly print: (line: string) => void;
  /** Told of each process that does not answer, if another one does. */
  readonly warn: (message: string) => void;
}

/**
 * Prints what processes have in hand. If only some of several processes answer, it says so for the others.
 *
 * @throws Failure if none answers
 *
 * @internal
 */
export async function ps(options: PsOptions): Promise<void> {
  const connections = await connect(options);
  try {
    const asked = connections.map((connection) => psOf(connection, options));
    const answers = await Promise.allSettled(asked);
    const failures: unknown[] = [];
    for (const answer of answers) {
      if (answer.status === 'fulfilled') for (const line of answer.value) options.print(line);
      else failures.push(answer.reason);
    }
    const [first] = failures;
    if (failures.length === answers.length) throw first;
    for (const failure of failures) {
      if (!(failure instanceof Failure)) throw failure;
      options.warn(failure.message);
    }
  } finally {
    for (const connection of connections) connection.close();
  }
}

async function psOf(
  connection: Connection,
  { json, limit, width }: PsOptions,
): Promise<readonly string[]> {
  if (json) {
    const text: string[] = [];
    await connection.ask('tree', (line) => text.push(cleanJson(line)));
    return text;
  }
  const lines: Line[] = [];
  await connection.ask('tree', (line) => lines.push(line));
  return formatTree(lines, limit).map((line) => fit(line, width));
}

/** A scope, or no scope, of one kernel. */
interface Group {
  readonly scope: number | null;
  readonly entries: EntryLine[];
}

/**
 * The lines of a tree: kernels, scopes, continuations, locks, holders.
 *
 * @internal
 */
export function formatTree(lines: readonly Line[], limit: number): string[] {
  const text: string[] = [];
  let left = limit;
  for (const line of lines) {
    if (line.type === 'process') text.push(clean(describeProcess(line)));
    if (line.type !== 'kernel') continue;
    const entries = lines.filter(
      (one) => one.type === 'entry' && one.kernel === line.kernel,
    ) as EntryLine[];
    if (entries.length === 0 && line.kernel > 0) continue;
    for (const one of kernelLines(line, entries, left)) text.push(one);
    left = Math.max(0, left - entries.length);
  }
  return text;
}

function describeProcess(line: ProcessLine): string {
  return `${titleOf(line)}, up ${duration(line.uptimeS * 1000)}`;
}

function kernelLines(kernel: KernelLine, entries: readonly EntryLine[], limit: number): string[] {
  const { pending, queued, running, nowMs } = kernel;
  const name = kernel.kernel === 0 ? 'process-wide kernel' : `kernel ${kernel.kernel + 1}`;
  const text = [`  ${name}: ${running} running, ${queued} queued, ${pending} pending`];
  const byId = new Map<number, EntryLine>();
  for (const entry of entries) {
    if (entry.state === 'running' || !byId.has(entry.id)) byId.set(entry.id, entry);
  }
  let shown = 0;
  for (const { scope, entries: members } of groupsOf(entries)) {
    if (shown === limit) break;
    text.push(scope === null ? '    no scope' : `    scope ${scope}`);
    for (const entry of members.slice(0, limit - shown)) {
      text.push(`      ${describeEntry(entry, nowMs)}`, ...lockLines(entry, byId, nowMs));
      shown++;
    }
  }
  if (shown < entries.length) text.push(`    and ${entries.length - shown} more`);
  return text;
}

/** The scopes with what is late or waits come first. */
function groupsOf(entries: readonly EntryLine[]): Group[] {
  const groups = new Map<number | null, Group>();
  for (const entry of entries.toSorted(byUrgency)) {
    const { scope } = entry;
    const known = groups.get(scope);
    if (known === undefined) groups.set(scope, { scope, entries: [entry] });
    else known.entries.push(entry);
  }
  return [...groups.values()];
}

const ORDER = { waiting: 0, runnable: 1, running: 2, pending: 3 } as const;

/** What waits first, the longest first; timers that are late, then by deadline. */
function byUrgency(a: EntryLine, b: EntryLine): number {
  return (
    ORDER[a.state] - ORDER[b.state] ||
    (a.deadlineMs ?? a.sinceMs ?? 0) - (b.deadlineMs ?? b.sinceMs ?? 0) ||
    a.id - b.id
  );
}

function describeEntry(entry: EntryLine, nowMs: number): string {
  const { id, name, function: func, workqueue, ref } = entry;
  const called = func === '' || func === name ? '' : ` (${clean(func)})`;
  const where = workqueue === null ? '' : ` on ${clean(workqueue)}`;
  const unref = ref || workqueue === null ? '' : ', unreferenced';
  return `#${id} ${clean(name)}${called}${where}: ${stateText(entry, nowMs)}${unref}`;
}

const WAITS = { lock: 'its lock', maxActive: 'a place', run: 'its own run', cpu: 'a CPU' } as const;

function stateText(entry: EntryLine, nowMs: number): string {
  const { state, waitsFor, deadlineMs, sinceMs, lateMs } = entry;
  if (deadlineMs !== null) {
    return lateMs > 0 ? `due ${duration(lateMs)} ago` : `due in ${duration(deadlineMs - nowMs)}`;
  }
  const since = sinceMs === null ? '' : ` for ${duration(nowMs - sinceMs)}`;
  return state === 'waiting'
    ? `waits${since} for ${WAITS[waitsFor ?? 'lock']}`
    : `${state}${since}`;
}

function lockLines(
  entry: EntryLine,
  byId: ReadonlyMap<number, EntryLine>,
  nowMs: number,
): string[] {
  const { waitsFor, lock, lockId, holders, holding } = entry;
  if (waitsFor !== 'lock' || lock === null) return [];
  const text = [`        lock ${clean(lock)} (#${lockId})`];
  for (const { id, name } of holders) {
    const holder = id === null ? undefined : byId.get(id);
    const what = holder === undefined ? clean(name) : describeEntry(holder, nowMs);
    text.push(`          held by ${what}`);
  }
  if (holding > holders.length) text.push(`          and ${holding - holders.length} more`);
  if (holding === 0) text.push('          free');
  return text;
}

import type { Continuations } from './continuations.ts';
import { byId, fillTerms, setText } from './dom.ts';
import { duration } from './format.ts';
import { reasonOf, type Run } from './run-history.ts';

const dialog: HTMLDialogElement = byId('details') as HTMLDialogElement;
byId('details-close').addEventListener('click', () => dialog.close());

function open(title: string, terms: readonly (readonly [string, string])[], reason: string): void {
  setText(byId('h-details'), title);
  fillTerms(byId('details-list'), terms);
  setText(byId('details-reason'), reason);
  if (!dialog.open) dialog.showModal();
}

function orNone(value: string | number | null | undefined): string {
  return value === null || value === undefined || value === '' ? 'none' : String(value);
}

/** What an entry in a list says; times are relative to when the list was made. */
export interface Described {
  readonly id: number | string | null;
  readonly name: string | number | null;
  readonly function: string | number | null;
  readonly state: string | number | null;
  readonly waitsFor: string | number | null;
  readonly workqueue: string | number | null;
  readonly priority: string | number | null;
  readonly sinceMs: string | number | null;
  readonly deadlineMs: string | number | null;
  readonly lateMs: string | number | null;
  readonly lock: string | number | null;
  readonly cpu: string | number | null;
  readonly scope: string | number | null;
  readonly ref: boolean | string | number | null;
  readonly createdAt?: string | number | null;
}

/** Shows one continuation. */
export function showEntry(entry: Described, nowMs: number, reason: string): void {
  const { name, id, sinceMs, deadlineMs, waitsFor } = entry;
  const state = waitsFor === null ? entry.state : `waiting for ${waitsFor}`;
  open(
    `${orNone(name)} #${orNone(id)}`,
    [
      ['State', orNone(state)],
      [
        'Since',
        sinceMs === null ? 'not known' : `${duration(Math.max(0, nowMs - Number(sinceMs)))} ago`,
      ],
      ['Due', deadlineMs === null ? 'no timer' : `in ${duration(Number(deadlineMs) - nowMs)}`],
      ['Late by', duration(Number(entry.lateMs ?? 0))],
      ['Function', orNone(entry.function)],
      ['Created at', orNone(entry.createdAt ?? 'not known: the kernel is not in debug mode')],
      ['Workqueue', `${orNone(entry.workqueue)}, priority ${orNone(entry.priority)}`],
      ['Lock', orNone(entry.lock)],
      ['CPU', entry.cpu === null ? 'not chosen yet' : String(entry.cpu)],
      ['Scope', orNone(entry.scope)],
      ['Keeps the process alive', Number(entry.ref) === 1 ? 'yes, while it is scheduled' : 'no'],
    ],
    reason,
  );
}

/** Shows one continuation of the list of all. */
export function showListed(list: Continuations, at: number, reason: string): void {
  showEntry(list.entry(at), list.nowMs, reason);
}

/** A run in a few words. */
export function describeRun(run: Run): string {
  const ms = run.returnedMs - run.enteredMs;
  const ran = Number.isNaN(ms) ? 'still running' : `ran ${duration(ms)}`;
  return `${run.name} on ${run.workqueue}, CPU ${run.cpu}: ${ran}, ${duration(run.waitedMs)} after it was due`;
}

/** Shows one run. */
export function showRun(
  run: Run,
  runs: readonly Run[],
  nowMs: number,
  createdAt: string | null,
): void {
  const { enteredMs, returnedMs, settledMs } = run;
  const settled = Number.isNaN(settledMs)
    ? 'has not settled'
    : `after ${duration(settledMs - enteredMs)}`;
  open(
    `${run.name} #${run.id}`,
    [
      ['Entered', `${duration(nowMs - enteredMs)} ago`],
      [
        'Occupied the event loop',
        Number.isNaN(returnedMs) ? 'has not returned' : duration(returnedMs - enteredMs),
      ],
      ['Settled', run.isAsync ? settled : 'when it returned'],
      ['Entered after it was due', duration(run.waitedMs)],
      [
        'Scheduled',
        run.scheduledMs === null
          ? 'not recorded'
          : `${duration(enteredMs - run.scheduledMs)} before`,
      ],
      ['Function', orNone(run.function)],
      ['Created at', orNone(createdAt ?? 'not known: the kernel is not in debug mode')],
      ['Workqueue', `${run.workqueue}, priority ${run.priority}`],
      ['CPU', String(run.cpu)],
      ['Failed', run.failed ? 'yes' : 'no'],
    ],
    reasonOf(run, runs, duration) +
      (run.estimated > 0
        ? ` Its end was read; the ends of the ${run.estimated} runs before it are estimates.`
        : ''),
  );
}

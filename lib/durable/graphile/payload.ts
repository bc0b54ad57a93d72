import type { Affinity } from '../../core/extras.ts';
import type { ScheduleRequest } from '../backend.ts';

/**
 * The payload of a job: an object, because graphile-worker merges arrays.
 *
 * @internal
 */
export interface Payload {
  readonly v: 1;
  readonly id: string;
  readonly lock: string | null;
  readonly node: string | null;
  readonly affinity: Affinity;
  readonly everyMs: number;
  readonly catchUp: boolean;
  /** How many attempts have failed, and the delay after the last. */
  readonly failed: number;
  readonly backoffMs: number;
  /** When the first attempt was due, if it is periodic and this is another one: written by the database. */
  readonly firstDue?: string;
  /** The argument; omitted for undefined. */
  readonly arg?: unknown;
}

/**
 * The payload of a request, as JSON text.
 *
 * @internal
 */
export function payloadOf(
  request: ScheduleRequest,
  failed: number = 0,
  backoffMs: number = 0,
): string {
  const { id, lock, node, affinity, everyMs, catchUp, arg } = request;
  const head = { v: 1, id, lock, node, affinity, everyMs, catchUp, failed, backoffMs };
  const text = JSON.stringify(head);
  return arg === undefined ? text : `${text.slice(0, -1)},"arg":${arg}}`;
}

/** A time as `to_json` writes it. */
const TIME = /^\d{4}-\d\d-\d\dT[\d:.]+[+-][\d:]+$/;

/**
 * Reads the payload of a job, which any program with access to the table may have written.
 *
 * @returns undefined: it is not one of this library
 *
 * @internal
 */
export function readPayload(value: unknown): Payload | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const it = value as Partial<Record<keyof Payload, unknown>>;
  const isName = (name: unknown): boolean => name === null || typeof name === 'string';
  const isMs = (ms: unknown): boolean => Number.isFinite(ms) && (ms as number) >= 0;
  const fits =
    it.v === 1 &&
    typeof it.id === 'string' &&
    isName(it.lock) &&
    isName(it.node) &&
    (it.affinity === 'strong' || it.affinity === 'weak' || it.affinity === 'none') &&
    isMs(it.everyMs) &&
    typeof it.catchUp === 'boolean' &&
    Number.isSafeInteger(it.failed) &&
    isMs(it.backoffMs) &&
    (it.firstDue === undefined || (typeof it.firstDue === 'string' && TIME.test(it.firstDue)));
  return fits ? (value as Payload) : undefined;
}

/**
 * The name of graphile-worker's task: of a function on any node, or on one.
 *
 * @internal
 */
export function taskOf(handler: string, affinity: Affinity, node: string | null): string {
  return affinity === 'strong' ? `${handler}@${node}` : handler;
}

/**
 * The flags of a job. The delay is kept for `touch`; a node that is up keeps what prefers it from others.
 *
 * @internal
 */
export function flagsOf(affinity: Affinity, node: string | null, delayMs: number): string[] {
  const flags = delayMs > 0 ? [`delay=${delayMs}`] : [];
  if (affinity === 'weak') flags.push(`weak@${node}`);
  return flags;
}

/**
 * The priority of a job: graphile-worker's most urgent is the lowest.
 *
 * @internal
 */
export function jobPriority(priority: number): number {
  return 223 - priority;
}

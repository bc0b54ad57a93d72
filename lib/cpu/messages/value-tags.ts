/*
 * How arguments and results travel between CPUs.
 *
 *   inline   undefined, null, booleans and numbers: in the control block, or in the message
 *   JSON     small plain values of a job: beside the control block, as JSON
 *   cloned   everything else: cloned by postMessage, as structuredClone does it
 *
 * Handles of continuations, and locks, are put into the clone as tokens and come out as this CPU's
 * face of the same handle. They are looked for in arrays and in plain objects.
 */

/** Tags, in the control block. A job without an argument has this one. */
export const ABSENT = 0;
const UNDEFINED = 1;
const NULL = 2;
const TRUE = 3;
const FALSE = 4;
const NUMBER = 5;
/** Beside the control block: see text.ts. */
export const IN_JSON_SLOT = 6;
/** From here on it goes by port. */
export const CLONED = 7;
/** It went by port to one CPU, and is nowhere else. */
export const MOVED = 8;

/** How a value travels. */
export function tagOf(value: unknown): number {
  switch (value) {
    case undefined:
      return UNDEFINED;
    case null:
      return NULL;
    case true:
      return TRUE;
    case false:
      return FALSE;
    default:
      return typeof value === 'number' ? NUMBER : CLONED;
  }
}

/** The value of an inline tag. */
export function inline(tag: number, value: number): unknown {
  switch (tag) {
    case NULL:
      return null;
    case TRUE:
      return true;
    case FALSE:
      return false;
    case NUMBER:
      return value;
    default:
      return undefined;
  }
}

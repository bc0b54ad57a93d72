/*
 * Tags that say how an argument or a result is transmitted between CPUs.
 *
 *   inline   undefined, null, booleans and numbers: in the control block or in the message
 *   JSON     small plain values of a job: in the JSON slot of the control block (json-slot.ts)
 *   cloned   all other values: posted through a port, and cloned as by structuredClone
 *
 * Handles of continuations, and locks, are replaced by tokens in the clone: see tokens.ts.
 */

/** The tag of a job without an argument. */
export const ABSENT = 0;
const UNDEFINED = 1;
const NULL = 2;
const TRUE = 3;
const FALSE = 4;
const NUMBER = 5;
/** The value is in the JSON slot of the control block. */
export const IN_JSON_SLOT = 6;
/** The value is posted and cloned. Values with this tag or a higher one are posted. */
export const CLONED = 7;
/** The value was moved to one CPU, and exists only there. */
export const MOVED = 8;

/** Returns the tag of a value. */
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

/** Returns the value of an inline tag. */
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

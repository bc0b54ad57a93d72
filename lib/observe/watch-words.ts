/*
 * What the event loop shares with the thread that watches it.
 *
 *   SEQUENCE   counts entries and returns of functions: odd while a function is on the stack
 *   LABEL      the number of its name; the names have been posted before
 *   TICKS      counted by the watching thread: the flight recorder reads the clock when it has changed
 */

import type { Rings } from './recorder/rings.ts';

/** @internal */
export const SEQUENCE = 0;
/** @internal */
export const LABEL = 1;
/** @internal */
export const TICKS = 2;
/** The number of words. @internal */
export const WORDS = 3;

/**
 * What the watching thread is started with.
 *
 * @internal
 */
export interface WatchData {
  readonly kcontWatch: true;
  readonly words: Int32Array;
  /** After how many ms a block is reported. */
  readonly blockMs: number;
  /** Whether the watched thread is the main thread, whose stack can be read. */
  readonly isMain: boolean;
  /** What the flight recorder has recorded; null: there is none. */
  readonly rings: Rings | null;
}

/**
 * The name of a function, which is posted to the watching thread before the function is entered first.
 *
 * @internal
 */
export interface Named {
  readonly label: number;
  readonly text: string;
}

/**
 * A block that the watching thread has found. It arrives when the event loop is free again.
 *
 * @internal
 */
export interface Block {
  readonly label: number;
  /** For how long it had lasted when it was found, in ms. */
  readonly ms: number;
  /** The stack of the blocked thread; null if it could not be read. */
  readonly stack: string | null;
}

/*
 * Which dispatcher's functions are on the stack. Several kernels may share a thread, and a function of one may
 * advance the clock of another.
 */

import type { Dispatcher } from './dispatcher.ts';

/**
 * The dispatcher in whose pass this thread is; null: not in a pass.
 *
 * @internal
 */
export const inPass: { dispatcher: Dispatcher | null } = { dispatcher: null };

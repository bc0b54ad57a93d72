import { RWLock } from './rw-lock.ts';

/**
 * A read-mostly lock: an {@link RWLock} for data that is rarely written.
 *
 * @remarks
 * Within one thread it grants in the same order as an RWLock. Between CPUs, its readers do not share a
 * cache line, which makes reading cheaper and writing more expensive.
 *
 * @public
 */
export class RMLock extends RWLock {}

import { RWLock } from './rw-lock.ts';

/**
 * A read-mostly lock: an {@link RWLock} for what is hardly ever written.
 *
 * @remarks
 * Within one thread it grants in the same order as an RWLock does. The difference shows between
 * CPUs: there its readers share no cache line, and a writer pays for it.
 *
 * @public
 */
export class RMLock extends RWLock {}

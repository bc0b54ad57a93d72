import { Kcont } from '../../core/kcont.ts';
import { captureSite, type Site } from './sites.ts';

/** Where continuations were created: beside them, so that they have no field for it. */
const created = new WeakMap<Kcont<unknown>, Site>();

/**
 * Notes where a continuation is created. Called by its constructor.
 *
 * @internal
 */
export function noteCreation(kc: Kcont<unknown>): void {
  created.set(kc, captureSite(Kcont));
}

/**
 * Where a continuation was created; undefined: not known.
 *
 * @internal
 */
export function creationOf(kc: Kcont<unknown>): Site | undefined {
  return created.get(kc);
}

import type { Caller } from '../base/errors.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Observer } from '../core/observer.ts';

/**
 * Something that the observer of a kernel passes everything on to. Does nothing by itself.
 *
 * @internal
 */
export class Tap implements Omit<Observer, 'entered' | 'sent'> {
  created(_kc: Kcont<unknown>): void {}
  scheduled(_kc: Kcont<unknown>, _before: number): void {}
  refused(_kc: Kcont<unknown>, _by: Caller): void {}
  expired(_kc: Kcont<unknown>): void {}
  waits(_kc: Kcont<unknown>): void {}
  entered(_kc: Kcont<unknown>, _before: number): void {}
  suspended(_kc: Kcont<unknown>): void {}
  settled(_kc: Kcont<unknown>): void {}
  stopped(_kc: Kcont<unknown>): void {}
  failed(_kc: Kcont<unknown>, _error: unknown): void {}
}

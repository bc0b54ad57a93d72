import type { Entry } from '../../lib/base/ordered-list.ts';
import type { Timer } from '../../lib/time/timing-wheel.ts';

/** A timer of a wheel that is nothing but that. */
export class Alarm<N = string> implements Timer {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
  _due = 0;
  farTick = 0;
  readonly name: N;

  constructor(name: N) {
    this.name = name;
  }

  _farTick(): number {
    return this.farTick;
  }

  _setFarTick(tick: number): void {
    this.farTick = tick;
  }
}

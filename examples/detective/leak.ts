// Sessions whose customers have left: nobody destroys their timers.

import { Kcont, Kernel, VirtualClock } from '../../lib/index.ts';
import { list, whyAlive } from '../../lib/observe/index.ts';
import { fileOf, type Say } from './case.ts';

const CUSTOMERS = 200;
const IDLE_MS = 600_000;

/** A customer's session, which ends after ten minutes without a request. */
class Session {
  readonly #idle: Kcont<Session>;

  constructor(kernel: Kernel) {
    const end = (session: Session): void => session.end();
    this.#idle = new Kcont(kernel.wq.softclock, null, end, this, { name: 'session idle' });
    this.#idle.schedule(IDLE_MS);
  }

  request(): void {
    this.#idle.touch();
  }

  /** The customer leaves. The mistake: the timer keeps the session, and the process, for ten minutes. */
  end(destroysTimer: boolean = false): void {
    if (destroysTimer) this.#idle.destroy();
  }
}

/** The customers of a day come and go. */
function serve(kernel: Kernel, destroysTimer: boolean): void {
  for (let i = 0; i < CUSTOMERS; i++) {
    const session = new Session(kernel);
    session.request();
    session.end(destroysTimer);
  }
}

/** The case of the memory that grows. */
export function leak(say: Say): void {
  const kernel = new Kernel({ clock: new VirtualClock(), debug: true });
  serve(kernel, false);

  const pending = list(kernel, { state: 'pending' });
  const kinds = new Map<string, number>();
  for (const { name, createdAt } of pending) {
    const kind = `${name}, created in ${fileOf(createdAt)}`;
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  for (const [kind, count] of kinds) say(`list(kernel): ${count} pending: ${kind}`);
  say(
    `whyAlive(kernel): ${whyAlive(kernel).length} reasons, the first: ${whyAlive(kernel)[0]?.split(', ')[0]}`,
  );

  const mended = new Kernel({ clock: new VirtualClock() });
  serve(mended, true);
  say(`mended by destroy(): ${list(mended).length} pending`);
}

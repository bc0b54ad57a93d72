import { Kcont, wq } from 'kcont';

/** Calls `onIdle` when nothing has been heard for a minute; `touch()` it for what is heard. */
export function watchIdle(onIdle) {
  const idle = new Kcont(wq.softclock, null, onIdle, null, { name: 'idle' });
  idle.schedule(60_000);
  return idle;
}

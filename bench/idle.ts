// What a million pending timers cost while nothing happens.

import { setTimeout as sleep } from 'node:timers/promises';
import { Kcont, Kernel } from '../lib/index.ts';
import { costs, sized, type Bench, type Effort, type Side } from './harness/bench.ts';
import { expectNoneFired, neverDue } from './harness/pending.ts';
import { permutation } from './harness/random.ts';

const HOUR_MS = 3_600_000;
const WATCHED_MS = 5000;
/** For what making them has left behind. */
const SETTLE_MS = 500;
const US_PER_MS = 1000;

/** CPU time of the process, while so many are pending. `arm` returns what stops them. */
function watched(role: Side['role'], name: string, effort: Effort, arm: () => () => void): Side {
  let stop = (): void => undefined;
  return {
    role,
    name,
    async before() {
      stop = arm();
      gc?.();
      await sleep(effort.quick ? 1 : SETTLE_MS);
    },
    async sample() {
      const cpu = process.cpuUsage();
      await sleep(effort.quick ? 20 : WATCHED_MS);
      const { user, system } = process.cpuUsage(cpu);
      expectNoneFired();
      return [(user + system) / US_PER_MS];
    },
    after() {
      stop();
      stop = () => undefined;
    },
  };
}

export const bench: Bench = {
  name: 'idle',
  about: 'CPU time of the process over 5 s, with 1 M timers pending that are due in 1 to 2 hours.',
  cases: (effort) => [
    {
      name: '1 M pending far away: CPU over 5 s',
      rounds: 5,
      metrics: costs('ms', { against: 'setTimeout', atMost: 1 }),
      sides() {
        const delays = Array.from(
          permutation(sized(effort, 1_000_000)),
          (at) => HOUR_MS + 1000 * (at % 3600),
        );
        return [
          watched('kcont', 'kcont', effort, () => {
            const { wq } = new Kernel();
            const kcs = delays.map((delayMs) => {
              const kc = new Kcont(wq.softclock, null, neverDue, null);
              kc.schedule(delayMs);
              return kc;
            });
            return () => kcs.forEach((kc) => kc.destroy());
          }),
          watched('peer', 'setTimeout', effort, () => {
            const timeouts = delays.map((delayMs) => setTimeout(neverDue, delayMs));
            return () => timeouts.forEach((timeout) => clearTimeout(timeout));
          }),
          watched('floor', 'nothing pending', effort, () => () => undefined),
        ];
      },
    },
  ],
};

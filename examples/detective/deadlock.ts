// A transfer and an audit that enter two locks in opposite order.

import { Kcont, Kernel, Mutex, VirtualClock } from '../../lib/index.ts';
import { observe, waitGraph } from '../../lib/observe/index.ts';
import type { Say } from './case.ts';

interface Bank {
  readonly kernel: Kernel;
  readonly clock: VirtualClock;
  readonly accounts: Mutex;
  readonly journal: Mutex;
  readonly done: string[];
}

function open(debug: boolean): Bank {
  const clock = new VirtualClock();
  return {
    clock,
    kernel: new Kernel({ clock, debug }),
    accounts: new Mutex({ name: 'accounts' }),
    journal: new Mutex({ name: 'journal' }),
    done: [],
  };
}

/** Waits for the disk. */
function write({ kernel }: Bank): Promise<void> {
  return kernel.wq.softclock.run(() => undefined, { delayMs: 5 });
}

/** Something that needs two locks. */
function work(bank: Bank, name: string, first: Mutex, second: Mutex): void {
  const func = async (): Promise<void> => {
    await first.enter();
    await write(bank);
    await second.enter();
    bank.done.push(name);
    second.exit();
    first.exit();
  };
  new Kcont(bank.kernel.wq.prilow, null, func, null, { name }).schedule();
}

/** The case of the server that answers nothing and says nothing. */
export async function deadlock(say: Say): Promise<void> {
  const bank = open(true);
  const { kernel, clock, accounts, journal } = bank;
  using _ = observe({ kernel, onFinding: ({ message }) => say(`onFinding: ${message}`) });
  work(bank, 'transfer', accounts, journal);
  // The mistake: the other order.
  work(bank, 'audit', journal, accounts);
  await clock.advance(1000);
  for (const { waiter, what, holders } of waitGraph(kernel).waits) {
    say(
      `waitGraph(kernel): ${waiter.name} -> ${what} -> ${holders.map(({ name }) => name).join(', ')}`,
    );
  }
  say(`done: ${bank.done.join(', ') || 'nothing'}`);

  const mended = open(false);
  work(mended, 'transfer', mended.accounts, mended.journal);
  work(mended, 'audit', mended.accounts, mended.journal);
  await mended.clock.advance(1000);
  say(`mended by one order: ${mended.done.join(', ')}`);
}

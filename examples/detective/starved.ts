// A report that is never written, because a more urgent function schedules itself again and again.

import { Kcont, Kernel } from '../../lib/index.ts';
import { observe } from '../../lib/observe/index.ts';
import type { Say } from './case.ts';

/** How long the poll goes on: for ever, in the program that this was. */
const POLL_MS = 1500;

/** Polls until the time is over; says what stands out, and returns when the report was written. */
async function night(patienceMs: number, say: Say): Promise<string> {
  const kernel = new Kernel();
  const reports = kernel.acquire(100, { name: 'reports', patienceMs });
  using _ = observe({
    kernel,
    limits: { starvedMs: 500, functionMs: Infinity, lateMs: Infinity },
    onStall: ({ kind, name, workqueue }) => say(`onStall: ${kind}: ${name} on ${workqueue}`),
  });
  let polls = true;
  let written = 'not written while it polled';
  const report = new Kcont(
    reports,
    null,
    () => {
      if (polls) written = 'written while it polled';
    },
    null,
    { name: 'nightly report' },
  );
  const poll = new Kcont(
    kernel.wq.prihigh,
    null,
    (_poll, kc) => void (polls && kc.reset(0)),
    null,
    {
      name: 'poll queue',
    },
  );
  report.schedule();
  poll.schedule();
  await new Promise((resolve) => {
    setTimeout(resolve, POLL_MS);
  });
  polls = false;
  await kernel.close();
  return written;
}

/** The case of the report that nobody has seen for a week. */
export async function starved(say: Say): Promise<void> {
  // The mistake: this workqueue is as patient as can be.
  say(`the report was ${await night(Infinity, say)}`);
  say(`mended by patienceMs: 100: the report was ${await night(100, () => undefined)}`);
}

// A function that computes for too long on the event loop.

import { Kcont, Kernel } from '../../lib/index.ts';
import { observe, type Stall } from '../../lib/observe/index.ts';
import type { Say } from './case.ts';

const INVOICE_MS = 400;

/** The mistake: a whole invoice in one go. */
function render(): void {
  const endMs = performance.now() + INVOICE_MS;
  while (performance.now() < endMs);
}

/** The case of the requests that all take half a second now and then. */
export async function slow(say: Say): Promise<void> {
  const kernel = new Kernel();
  const stalls: Stall[] = [];
  using _ = observe({
    kernel,
    limits: { functionMs: 200, lateMs: 200 },
    onStall: (stall) => void stalls.push(stall),
  });
  const invoice = new Kcont(kernel.wq.prilow, null, render, null, { name: 'render invoice' });
  const request = new Kcont(kernel.wq.softclock, null, () => undefined, null, { name: 'answer' });
  // The request is due while the invoice is rendered.
  request.schedule(20);
  invoice.schedule();
  await kernel.wq.softclock.run(() => undefined, { delayMs: 25 });
  await kernel.close();
  for (const { kind, name, workqueue, message } of stalls) {
    // A busy machine may make others late, too.
    if (kind === 'function' && name === 'render invoice')
      say(`onStall: ${kind}: ${name} on ${workqueue}`);
    if (kind === 'late' && name === 'answer') {
      const blamed = message.includes('render invoice') ? 'render invoice' : 'nobody';
      say(`onStall: ${kind}: ${name} on ${workqueue}, because of ${blamed}`);
    }
  }
}

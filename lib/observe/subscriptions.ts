import { channel } from 'node:diagnostics_channel';
import type { Kernel } from '../core/kernel.ts';
import type { KcontMessage } from './messages.ts';

/**
 * Subscribes to channels, for the messages of one kernel.
 *
 * @returns a function that unsubscribes from all
 *
 * @internal
 */
export function subscribeAll(
  kernel: Kernel,
  listeners: Readonly<Record<string, (message: never) => void>>,
): () => void {
  const undo = Object.entries(listeners).map(([name, listener]) => {
    const to = channel(name);
    const filtered = (message: unknown): void => {
      if ((message as KcontMessage).kernel === kernel) listener(message as never);
    };
    to.subscribe(filtered);
    return () => to.unsubscribe(filtered);
  });
  return () => {
    for (const one of undo.splice(0)) one();
  };
}

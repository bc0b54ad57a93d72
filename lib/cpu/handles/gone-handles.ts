/*
 * Handles that were made here, ran on another CPU, and were destroyed. An error of such a run may still
 * be on its way, and has to be reported with its handle.
 *
 *      CPU 1   function throws, settles . . . . message FAILED ->
 *      CPU 0                            destroy: the block is free . . . . . FAILED is read
 *
 * The user's handle is not kept alive. If it has been collected, a substitute with its name and its
 * workqueue is used. Only the last 1024 handles are kept. More errors than that can be on their way only
 * from a thread that is blocked.
 */

import type { Kcont } from '../../core/kcont.ts';
import { makeStandIn } from '../../core/own-kcont.ts';
import type { Workqueue } from '../../core/workqueue.ts';
import type { RemoteKcont } from './remote-kcont.ts';

/** The most handles that are kept. */
const KNOWN = 1024;

interface Gone {
  readonly handle: WeakRef<Kcont<unknown>>;
  readonly name: string;
  readonly wq: Workqueue;
}

/** The handles of one CPU that were destroyed. */
export class GoneHandles {
  readonly #gone = new Map<string, Gone>();

  /** Adds a handle that has run on another CPU and whose block is being freed. */
  add({ block, handle, kc }: RemoteKcont): void {
    const key = keyOf(block, handle);
    this.#gone.set(key, { handle: new WeakRef(kc), name: kc.name, wq: kc._wq });
    if (this.#gone.size <= KNOWN) return;
    for (const oldest of this.#gone.keys()) {
      this.#gone.delete(oldest);
      return;
    }
  }

  /** Returns the handle or a substitute for it. `otherwise` is the workqueue for an unknown handle. */
  find(block: number, handle: number, otherwise: Workqueue): Kcont<unknown> {
    const gone = this.#gone.get(keyOf(block, handle));
    return gone?.handle.deref() ?? makeStandIn(gone?.wq ?? otherwise, gone?.name ?? '(destroyed)');
  }
}

function keyOf(block: number, handle: number): string {
  return `${block} ${handle}`;
}

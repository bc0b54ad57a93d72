/*
 * Handles that were made here, have run elsewhere and were destroyed: an error of such a run may still
 * be on its way, and is reported with the handle.
 *
 *      CPU 1   function throws, settles . . . . message FAILED ->
 *      CPU 0                            destroy: its block is somebody else's . . FAILED is read
 *
 * The handle itself is the user's, and is not kept alive: what stands in for it has its name and its
 * workqueue. The last ones are known, which is more than can be on their way but of a thread that blocks.
 */

import { Kcont } from '../../core/kcont.ts';
import { nothing } from '../../base/nothing.ts';
import type { Workqueue } from '../../core/workqueue.ts';
import type { RemoteKcont } from './remote-kcont.ts';

/** How many are known. */
const KNOWN = 1024;

interface Gone {
  readonly handle: WeakRef<Kcont<unknown>>;
  readonly name: string;
  readonly wq: Workqueue;
}

/** The handles of one CPU that are gone. */
export class GoneHandles {
  readonly #gone = new Map<string, Gone>();

  /** It has run on another CPU, and its block is free from now on. */
  add({ block, handle, kc }: RemoteKcont): void {
    const key = keyOf(block, handle);
    this.#gone.set(key, { handle: new WeakRef(kc), name: kc.name, wq: kc._wq });
    if (this.#gone.size <= KNOWN) return;
    for (const oldest of this.#gone.keys()) {
      this.#gone.delete(oldest);
      return;
    }
  }

  /** The handle, or what stands in for it; `otherwise`: where that runs of which nothing is known. */
  find(block: number, handle: number, otherwise: Workqueue): Kcont<unknown> {
    const gone = this.#gone.get(keyOf(block, handle));
    return gone?.handle.deref() ?? standIn(gone?.wq ?? otherwise, gone?.name ?? '(destroyed)');
  }
}

function keyOf(block: number, handle: number): string {
  return `${block} ${handle}`;
}

function standIn(wq: Workqueue, name: string): Kcont<unknown> {
  const kc = new Kcont<unknown>(wq._freed ? wq.kernel.wq.prilow : wq, null, nothing, undefined, {
    name,
  });
  kc.destroy();
  return kc;
}

// What gives a buffer back to its caller without a copy: as the worker file of piscina.

import { load, type PiscinaModule } from './peer.ts';

const { default: Piscina } = await load<PiscinaModule>('piscina');

export { echo } from './work.ts';

/** Moves the bytes back. */
export function moveBack(bytes: Uint8Array<ArrayBuffer>): unknown {
  return Piscina.move(bytes);
}

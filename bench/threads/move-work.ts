// What gives a buffer back to its caller without a copy: as the CPU module of kcont.

import { transfer } from '../../lib/cpu/index.ts';

export { echo } from './work.ts';

/** Moves the bytes back. */
export function moveBack(bytes: Uint8Array<ArrayBuffer>): Uint8Array {
  return transfer(bytes, [bytes.buffer]);
}

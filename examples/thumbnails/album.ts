import type { Kernel } from '../../lib/index.ts';
import { draw } from './work.ts';

/** The photos, by name, as JPEG files in shared memory. */
export type Album = ReadonlyMap<string, Uint8Array>;

const WIDTH = 480;

/** Creates an album, using all CPUs. */
export async function drawAlbum(kernel: Kernel, photos: number): Promise<Album> {
  const numbers = Array.from({ length: photos }, (_, i) => i);
  const files = await Promise.all(
    numbers.map((seed) => kernel.wq.primedlow.run(draw, { arg: { seed, width: WIDTH } })),
  );
  return new Map(files.map((file, i) => [`photo-${i}`, shared(file)]));
}

function shared(bytes: Uint8Array): Uint8Array {
  const all = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
  all.set(bytes);
  return all;
}

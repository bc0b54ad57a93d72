// A picture made small, by a codec that is JavaScript through and through: decoding, scaling and
// encoding all take place on the thread that calls it. A native codec such as sharp has threads of its
// own, and would do the work there, whichever pool had asked for it.

import { Jimp } from 'jimp';

/** What a thumbnail is made from and how wide it is to be. */
export interface Order {
  readonly image: Uint8Array;
  readonly width: number;
}

/** Decodes a JPEG, scales it and encodes it again. */
export async function thumbnail({ image, width }: Order): Promise<Uint8Array> {
  const picture = await Jimp.read(Buffer.from(image.buffer, image.byteOffset, image.byteLength));
  picture.resize({ w: width });
  return new Uint8Array(await picture.getBuffer('image/jpeg', { quality: 80 }));
}

/** Draws a picture with edges, slopes and noise, the same every time, and encodes it as JPEG. */
export async function draw(width: number, height: number): Promise<Uint8Array<ArrayBuffer>> {
  const picture = new Jimp({ width, height, color: 0x203040ff });
  const { data } = picture.bitmap;
  let noise = 1;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      noise = (Math.imul(noise, 1_103_515_245) + 12_345) >>> 0;
      const ring = ((x - width / 2) ** 2 + (y - height / 2) ** 2) % 4000 < 2000;
      data[at] = ring ? 220 : (x * 255) / width;
      data[at + 1] = (y * 255) / height;
      data[at + 2] = noise >>> 26;
    }
  }
  return new Uint8Array(await picture.getBuffer('image/jpeg', { quality: 85 }));
}

export { echo } from './work.ts';

// The CPU module: the functions that run on the CPUs. Every CPU imports it and has its own variables.

import { Jimp, JimpMime } from 'jimp';
import { curcpu, transfer } from '../../lib/cpu/index.ts';
import { Mutex, PRI_PRIHIGH, PRI_PRILOW } from '../../lib/index.ts';
import type { Workqueue } from '../../lib/index.ts';

/** A request for a thumbnail. */
export interface Wanted {
  readonly photo: string;
  /** The JPEG, in shared memory, so that it is not copied to a CPU. */
  readonly jpeg: Uint8Array;
  readonly width: number;
  /** Whether a viewer waits for it. */
  readonly urgent: boolean;
}

/** The work that one CPU has done so far. */
export interface Tally {
  thumbnails: number;
  /** Number of photos that had to be decoded; the others were in the cache. */
  decoded: number;
  /** Number of thumbnails abandoned between two steps, because they were cancelled. */
  givenUp: number;
  /** How long its thread has been busy, in ms. */
  busyMs: number;
}

type Picture = Awaited<ReturnType<typeof Jimp.fromBuffer>>;

/** Number of decoded photos that a CPU caches, which is why affinity pays. */
const KEPT = 16;
/** How long urgent work may delay work ahead, in ms. */
const PATIENCE_MS = 2000;

/** The decoded photos of this CPU, the most recently used last. */
const kept = new Map<string, Picture>();
const mine = { thumbnails: 0, decoded: 0, givenUp: 0 };
/** Held for one step, so that steps never overlap. */
const codec = new Mutex();
let lines: { readonly urgent: Workqueue; readonly ahead: Workqueue } | undefined;

/** Renders a thumbnail in steps. Work of higher priority runs between any two steps. */
export async function thumbnail(wanted: Wanted, signal: AbortSignal): Promise<Uint8Array> {
  const { photo, jpeg, width, urgent } = wanted;
  try {
    const picture = kept.get(photo) ?? (await step(urgent, signal, () => decode(jpeg)));
    keep(photo, picture);
    const small = await step(urgent, signal, () => picture.clone().resize({ w: width }) as Picture);
    const bytes = await step(urgent, signal, () => small.getBuffer(JimpMime.jpeg, { quality: 80 }));
    mine.thumbnails++;
    return moved(bytes);
  } catch (error) {
    if (signal.aborted) mine.givenUp++;
    throw error;
  }
}

/**
 * Runs a step when no more urgent work is waiting on this CPU. Throws if the request was cancelled.
 */
async function step<T>(
  urgent: boolean,
  signal: AbortSignal,
  func: () => T | Promise<T>,
): Promise<T> {
  const { kernel } = curcpu();
  lines ??= {
    urgent: kernel.acquire(PRI_PRIHIGH, { patienceMs: PATIENCE_MS }),
    ahead: kernel.acquire(PRI_PRILOW, { patienceMs: PATIENCE_MS }),
  };
  // The lock is granted by priority: more urgent work gets it first, even if it came later.
  const result = await (urgent ? lines.urgent : lines.ahead).run(func, { lock: codec, signal });
  signal.throwIfAborted();
  return result;
}

/** Draws a different photo for each seed, and encodes it. */
export async function draw({ seed, width }: { seed: number; width: number }): Promise<Uint8Array> {
  const height = Math.round(width * 0.75);
  const picture = new Jimp({ width, height });
  const { data } = picture.bitmap;
  const hue = (seed * 0.381_966) % 1;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      const ring = Math.hypot(x - width * hue, y - height * (0.3 + 0.4 * hue)) / width;
      const wave = Math.sin(ring * (12 + (seed % 7) * 4)) * 40;
      data[at] = 90 + 110 * Math.sin(6.28 * hue) + wave;
      data[at + 1] = 110 + 90 * Math.sin(6.28 * (hue + y / height)) - wave;
      data[at + 2] = 130 + 110 * Math.cos(6.28 * (hue + x / width / 2));
      data[at + 3] = 255;
    }
  }
  return moved(await picture.getBuffer(JimpMime.jpeg, { quality: 85 }));
}

/** Returns the work that this CPU has done so far. */
export function tally(): Tally {
  return { ...mine, busyMs: performance.eventLoopUtilization().active };
}

async function decode(jpeg: Uint8Array): Promise<Picture> {
  mine.decoded++;
  return await Jimp.fromBuffer(Buffer.from(jpeg.buffer, jpeg.byteOffset, jpeg.byteLength));
}

function keep(photo: string, picture: Picture): void {
  kept.delete(photo);
  kept.set(photo, picture);
  if (kept.size <= KEPT) return;
  for (const oldest of kept.keys()) {
    kept.delete(oldest);
    return;
  }
}

/** Wraps the bytes as a result that is transferred, not copied. */
function moved(bytes: Buffer): Uint8Array {
  // A Buffer may be part of a shared pool, which cannot be transferred.
  const isWhole = bytes.byteLength === bytes.buffer.byteLength;
  const own = isWhole ? new Uint8Array(bytes.buffer) : Uint8Array.from(bytes);
  return transfer(own, [own.buffer]);
}

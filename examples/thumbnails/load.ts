// The clients, in a separate process, so that what blocks the service does not block them.
//
//   viewers     request thumbnails of their own photos at fixed times; latency counts from those times
//   crawler     prefetches the same photos, larger, many at a time, and retries at once
//   leavers     request many at once, and then close all the connections

import { Agent, get } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { widthOf } from './jpeg.ts';

/** The instructions for the load. */
export interface Order {
  readonly port: number;
  readonly photos: readonly string[];
  readonly forMs: number;
  /** The interval between two requests of a viewer, in ms. */
  readonly everyMs: number;
  readonly crawl: boolean;
  readonly leave: boolean;
}

/** The measurements of the load. */
export interface Seen {
  /** The latencies of viewers, in ms. */
  readonly waitedMs: readonly number[];
  /** Number of viewers' requests that were refused. */
  readonly refused: number;
  /** Number of answers that were not a JPEG of the requested width. */
  readonly wrong: number;
  /** Number of prefetches that were answered, and that were refused with a Retry-After. */
  readonly ahead: number;
  readonly putOff: number;
  /** Number of requests whose connection the client closed. */
  readonly left: number;
}

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly width: number;
}

export const VIEWERS = 6;
/** Number of prefetches that the crawler has in progress. */
const CRAWLS = 16;
/** How long the crawler waits after a Retry-After, in ms: less than it should. */
const IMPATIENCE_MS = 50;
const LEAVER_EVERY_MS = 250;
const AT_ONCE = 8;

process.on('message', (order: Order) => {
  void run(order).then((seen) => process.send?.(seen));
});

async function run({ port, photos, forMs, everyMs, crawl, leave }: Order): Promise<Seen> {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
  const begin = performance.now();
  const end = begin + forMs;
  const waitedMs: number[] = [];
  let refused = 0;
  let wrong = 0;
  let ahead = 0;
  let putOff = 0;
  let left = 0;
  /** The photos of each viewer. */
  const each = Math.floor(photos.length / VIEWERS);
  const photoOf = (viewer: number, i: number): string =>
    photos[viewer * each + (i % each)] ?? (photos[0] as string);
  const path = (viewer: number, i: number, width: number): string =>
    `/photos/${photoOf(viewer, i)}?client=viewer-${viewer}&width=${width}`;

  const look = async (viewer: number, i: number, at: number): Promise<void> => {
    const width = 80 + ((viewer * 31 + i * 17) % 100);
    const answer = await ask(agent, port, path(viewer, i, width));
    waitedMs.push(performance.now() - at);
    if (answer.status === 503) refused++;
    else if (answer.width !== width) wrong++;
  };
  const view = async (viewer: number): Promise<void> => {
    const looks: Promise<void>[] = [];
    const first = begin + (viewer * everyMs) / VIEWERS;
    for (let at = first, i = 0; at < end; at += everyMs, i++) {
      await sleep(Math.max(0, at - performance.now()));
      looks.push(look(viewer, i, at));
    }
    await Promise.all(looks);
  };
  const crawlAhead = async (nth: number): Promise<void> => {
    for (let i = nth; performance.now() < end; i++) {
      const width = 160 + (i % 40);
      const answer = await ask(agent, port, path(nth % VIEWERS, i, width), {
        'sec-purpose': 'prefetch',
      });
      if (answer.status === 503 && answer.retryAfter !== undefined) {
        putOff++;
        await sleep(IMPATIENCE_MS);
      } else if (answer.width === width) ahead++;
      else wrong++;
    }
  };
  const askAndLeave = async (): Promise<void> => {
    for (let round = 0; performance.now() < end - LEAVER_EVERY_MS; round++) {
      const asked = Array.from({ length: AT_ONCE }, (_, i) =>
        get({ agent, host: '127.0.0.1', port, path: path(round % VIEWERS, i, 400) }),
      );
      await Promise.all(asked.map(isSent));
      await sleep(10 + (round % 5) * 15);
      for (const request of asked) {
        if (request.destroyed) continue;
        left++;
        request.destroy();
      }
      await sleep(LEAVER_EVERY_MS);
    }
  };

  const all: Promise<void>[] = [];
  for (let viewer = 0; viewer < VIEWERS; viewer++) all.push(view(viewer));
  if (crawl) for (let nth = 0; nth < CRAWLS; nth++) all.push(crawlAhead(nth));
  if (leave) all.push(askAndLeave());
  await Promise.all(all);
  agent.destroy();
  return { waitedMs, refused, wrong, ahead, putOff, left };
}

/** Resolves when a request was sent or has failed. Its answer is ignored. */
function isSent(request: ClientRequest): Promise<void> {
  request.on('response', (answer) => answer.resume());
  return new Promise((resolve) => {
    request.on('error', () => resolve()).on('finish', () => resolve());
  });
}

function ask(
  agent: Agent,
  port: number,
  path: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve) => {
    const broken = (): void => resolve({ status: 0, retryAfter: undefined, width: 0 });
    const answered = (response: IncomingMessage): void => {
      const chunks: Uint8Array[] = [];
      response.on('data', (chunk: Uint8Array) => void chunks.push(chunk));
      response.on('error', broken);
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          retryAfter: response.headers['retry-after'],
          width: widthOf(Buffer.concat(chunks)),
        });
      });
    };
    get({ agent, host: '127.0.0.1', port, path, headers }, answered).on('error', broken);
  });
}

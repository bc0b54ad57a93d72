// The clients, in a process of their own, so that what holds up the service does not hold up them.
//
//   viewers     ask for thumbnails of their own photos at fixed times, whatever happens; how long it
//               takes counts from the time at which they meant to ask
//   crawler     asks ahead for the same photos, larger, many at a time, and asks again at once
//   leavers     ask for many at once, and hang up on all of them

import { Agent, get } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { widthOf } from './jpeg.ts';

/** What the load is told. */
export interface Order {
  readonly port: number;
  readonly photos: readonly string[];
  readonly forMs: number;
  /** How often each viewer asks, in ms. */
  readonly everyMs: number;
  readonly crawl: boolean;
  readonly leave: boolean;
}

/** What it has seen. */
export interface Seen {
  /** What viewers waited for, in ms. */
  readonly waitedMs: readonly number[];
  /** Viewers' requests that were refused. */
  readonly refused: number;
  /** Answers that were no JPEG of the width that was asked for. */
  readonly wrong: number;
  /** Work ahead that was answered, and that was put off with a Retry-After. */
  readonly ahead: number;
  readonly putOff: number;
  /** Requests that were hung up on. */
  readonly left: number;
}

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly width: number;
}

export const VIEWERS = 6;
/** Work ahead that the crawler keeps asking for. */
const CRAWLS = 16;
/** It was told to come later, and is not polite. */
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
  /** Each viewer has photos of its own. */
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

/** Fulfilled when a request is on its way. Nobody reads its answer, or wonders at its end. */
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

import { commonMs } from '../../time/host-clock.ts';
import type { KernelObserver } from '../kernel-observer.ts';
import type { ListEntry } from '../list-entry.ts';
import { slices } from '../list.ts';
import { shorten } from '../shorten.ts';
import { COLUMNS, TEXT_COLUMNS, type Chunk, type Listing, type ListingEnd } from './protocol.ts';

/** How many rows a line has. */
const ROWS = 128;
/** How many rows are sent. */
const MOST_ROWS = 200_000;

function lineOf(line: Listing | Chunk | ListingEnd): string {
  return `${JSON.stringify(line)}\n`;
}

/**
 * Lists everything that a kernel has in hand, as lines of text: see the protocol. It is made in slices of about
 * 2 ms, between which the event loop goes on.
 *
 * @internal
 */
export async function* listing(observer: KernelObserver): AsyncGenerator<string, void, undefined> {
  const { kernel } = observer.dispatcher;
  const { pending, queued, running } = kernel.inspect();
  yield lineOf({ nowMs: kernel.now(), total: pending + queued + running });
  const numbers = new Map<string, number>();
  let texts: string[] = [];
  const numberOf = (text: string): number => {
    let number = numbers.get(text);
    if (number === undefined) {
      numbers.set(text, (number = numbers.size));
      texts.push(text);
    }
    return number;
  };
  const rowOf = (entry: ListEntry): (number | null)[] =>
    COLUMNS.map((column, at) => {
      const value =
        (entry as unknown as Record<string, string | number | boolean | null>)[column] ?? null;
      if (at < TEXT_COLUMNS) return value === null ? null : numberOf(shorten(String(value)));
      return value === null ? null : Number(value);
    });
  let count = 0;
  let rows: (number | null)[][] = [];
  let tookMs = 0;
  let sinceMs = commonMs();
  for await (const row of slices(observer, { limit: MOST_ROWS }, rowOf)) {
    count++;
    rows.push(row);
    if (rows.length < ROWS) continue;
    tookMs += commonMs() - sinceMs;
    yield lineOf({ texts, rows });
    sinceMs = commonMs();
    texts = [];
    rows = [];
  }
  yield lineOf({ texts, rows });
  yield lineOf({ count, tookMs });
}

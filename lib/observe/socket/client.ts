import type { Socket } from 'node:net';
import { threadId } from 'node:worker_threads';
import { hostPerformance } from '../../base/host-functions.ts';
import { nothing } from '../../base/nothing.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { commonMs } from '../../time/host-clock.ts';
import { cpuCounters } from '../counters.ts';
import { Holders } from '../holder.ts';
import { allObservers, type KernelObserver } from '../kernel-observer.ts';
import type { ListEntry } from '../list-entry.ts';
import { slices } from '../list.ts';
import { numberOf } from '../numbers.ts';
import { shorten } from '../shorten.ts';
import { Slices } from '../walk.ts';
import { Activity } from './activity.ts';
import {
  LONGEST_PAUSE_MS,
  LONGEST_REQUEST,
  parseRequest,
  type ActivityRow,
  type EntryLine,
  type Holder,
  type KernelState,
  type Line,
  type ProcessLine,
  type Request,
} from './protocol.ts';

/** After which time a client is disconnected that asks nothing, or does not take its answer, in ms. @internal */
export const IDLE_MS = 30_000;
/** How much text is written at once, in characters. */
const CHUNK = 2 ** 14;
/** How many holders of a lock, and rows of a sample, are sent. */
const MOST_HOLDERS = 16;
const MOST_ROWS = 1000;

/**
 * One client of the socket.
 *
 * @internal
 */
export class Client {
  readonly #socket: Socket;
  readonly #activities = new Map<KernelObserver, Activity>();
  #received = '';
  #isAnswering = false;
  #sampledMs = NaN;
  #cpu = process.cpuUsage();
  #loop = hostPerformance.eventLoopUtilization();

  constructor(socket: Socket, ended: () => void) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('data', (text: string) => this.#take(text));
    socket.on('error', nothing);
    socket.on('close', () => {
      for (const activity of this.#activities.values()) activity.stop();
      ended();
    });
  }

  end(): void {
    this.#socket.destroy();
  }

  #take(text: string): void {
    this.#received += text;
    const end = this.#received.indexOf('\n');
    const line = end === -1 ? this.#received : this.#received.slice(0, end);
    if (line.length > LONGEST_REQUEST) this.#refuse('the request is too long');
    else if (this.#isAnswering || (end !== -1 && end < this.#received.length - 1)) {
      this.#refuse('a request must wait for the end of the last answer');
    } else if (end !== -1) {
      this.#received = '';
      const request = parseRequest(line);
      if (typeof request === 'string') this.#refuse(request);
      else void this.#answer(request);
    }
  }

  #refuse(message: string): void {
    this.#socket.removeAllListeners('data');
    this.#socket.resume();
    this.#socket.setTimeout(IDLE_MS);
    this.#socket.end(textOf({ type: 'error', message }));
  }

  async #answer({ get }: Request): Promise<void> {
    this.#isAnswering = true;
    this.#socket.setTimeout(IDLE_MS);
    try {
      await (get === 'tree' ? this.#tree() : this.#write(this.#sample()));
    } catch (error) {
      this.#refuse(`the answer failed: ${String(error)}`);
    }
    this.#isAnswering = false;
    // `kcont top` asks again after its interval.
    this.#socket.setTimeout(LONGEST_PAUSE_MS + IDLE_MS);
  }

  /** Writes text, and waits until the client has taken enough of it. False: it is gone. */
  async #write(text: string): Promise<boolean> {
    const socket = this.#socket;
    if (!socket.writable) return false;
    if (socket.write(text)) return true;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        socket.off('drain', go);
        socket.off('close', go);
        resolve();
      };
      socket.on('drain', go);
      socket.on('close', go);
    });
    return socket.writable;
  }

  async #tree(): Promise<void> {
    let text = textOf(describeProcess());
    let count = 0;
    const holders = new Holders();
    const slice = new Slices();
    for (const _ of holders.collect()) if (slice.isOver) await slice.next();
    const known = new Map<BaseLock, Held>();
    for (const [kernel, observer] of [...allObservers()].entries()) {
      text += textOf({ type: 'kernel', ...describeKernel(observer, kernel) });
      const pick = (entry: ListEntry, lock: BaseLock | null): string => {
        const lockId = lock === null ? null : numberOf(lock);
        const held =
          lock === null || entry.waitsFor !== 'lock' ? FREE : holdersFor(lock, known, holders);
        const line: EntryLine = { type: 'entry', kernel, ...shortened(entry), lockId, ...held };
        return textOf(line);
      };
      for await (const line of slices(observer, {}, pick)) {
        count++;
        text += line;
        if (text.length < CHUNK) continue;
        if (!(await this.#write(text))) return;
        text = '';
      }
    }
    await this.#write(text + textOf({ type: 'end', count }));
  }

  #sample(): string {
    const observers = [...allObservers()];
    for (const observer of observers) {
      if (!this.#activities.has(observer)) this.#activities.set(observer, new Activity(observer));
    }
    const nowMs = commonMs();
    const isFirst = Number.isNaN(this.#sampledMs);
    const { user, system } = process.cpuUsage(this.#cpu);
    const loop = hostPerformance.eventLoopUtilization();
    const { rss, heapUsed } = process.memoryUsage();
    const all = Array.from(this.#activities.values(), (activity) => activity.take()).flat();
    const rows = all.length > MOST_ROWS ? all.toSorted(byTime).slice(0, MOST_ROWS) : all;
    const sample = textOf({
      type: 'sample',
      intervalMs: isFirst ? 0 : nowMs - this.#sampledMs,
      cpuMs: isFirst ? 0 : (user + system) / 1000,
      activeMs: isFirst ? 0 : loop.active - this.#loop.active,
      rssBytes: rss,
      heapBytes: heapUsed,
      kernels: observers.map(describeKernel),
      rows,
    });
    this.#sampledMs = nowMs;
    this.#cpu = process.cpuUsage();
    this.#loop = loop;
    return textOf(describeProcess()) + sample + textOf({ type: 'end', count: rows.length });
  }
}

function textOf(line: Line): string {
  return `${JSON.stringify(line)}\n`;
}

function describeProcess(): ProcessLine {
  const { pid, version, argv } = process;
  // A program that has not named itself is called by its file.
  const title = process.title === 'node' ? (argv[1] ?? 'node') : process.title;
  const uptimeS = process.uptime();
  return { type: 'process', pid, thread: threadId, title: shorten(title), node: version, uptimeS };
}

function describeKernel(observer: KernelObserver, index: number): KernelState {
  const { kernel } = observer.dispatcher;
  const { pending, queued, running } = kernel.inspect();
  const cpus = cpuCounters(observer);
  return { kernel: index, nowMs: kernel.now(), pending, queued, running, cpus };
}

function shortened(entry: ListEntry): ListEntry {
  const { name, function: func, workqueue, lock, createdAt } = entry;
  return {
    ...entry,
    name: shorten(name),
    function: shorten(func),
    workqueue: workqueue === null ? null : shorten(workqueue),
    lock: lock === null ? null : shorten(lock),
    createdAt: createdAt === null ? null : shorten(createdAt),
  };
}

/** What took or waited most comes first. */
function byTime(a: ActivityRow, b: ActivityRow): number {
  return timeOf(b) - timeOf(a);
}

function timeOf({ runMs, latestMs, waitMs }: ActivityRow): number {
  return runMs + latestMs + waitMs;
}

/** What an entry says about the lock for which it waits. */
type Held = Pick<EntryLine, 'holders' | 'holding'>;

const FREE: Held = { holders: [], holding: 0 };

/** The holders of a lock, which are looked for once in an answer. */
function holdersFor(lock: BaseLock, known: Map<BaseLock, Held>, holders: Holders): Held {
  let held = known.get(lock);
  if (held === undefined) {
    const all = holders.of(lock);
    const first: Holder[] = all.slice(0, MOST_HOLDERS).map(({ name, id }) => {
      return { name: shorten(name), id };
    });
    held = { holders: first, holding: all.length };
    known.set(lock, held);
  }
  return held;
}

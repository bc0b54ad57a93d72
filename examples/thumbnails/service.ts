// The service: thumbnails over HTTP, rendered on several CPUs.
//
//   GET /photos/NAME?width=W                  urgent: for a page being viewed
//   with Sec-Purpose: prefetch, or &ahead     work ahead: rendered in the background
//
// Each CPU has two queues: urgent work starts before work ahead, and overtakes it between the steps of
// a thumbnail that is being rendered. Excess work is refused instead of queued:
//
//   work ahead    refused when its CPU has AHEAD of it or BUSY urgent requests; withdrawn when that
//                 many urgent requests arrive while it waits. Answered by 503, Retry-After
//   urgent work   refused when its CPU has URGENT of it

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
// oxlint-disable-next-line import/no-unassigned-import -- it enables kernels to start CPUs
import '../../lib/cpu/index.ts';
import { Kernel, KcontError, PRI_PRIHIGH, PRI_PRILOW } from '../../lib/index.ts';
import type { CloseReport, CpuEvent, Workqueue } from '../../lib/index.ts';
import { drawAlbum } from './album.ts';
import type { Album } from './album.ts';
import { page } from './page.ts';
import { Seats } from './seats.ts';
import type { Affinity, Seat, Work } from './seats.ts';
import { tally, thumbnail } from './work.ts';
import type { Tally } from './work.ts';

/** Limit of work ahead per CPU. */
const AHEAD = 4;
/** Number of urgent requests from which a CPU does no work ahead. */
const BUSY = 3;
/** Limit of urgent work per CPU: the work of a few seconds. */
const URGENT = 64;
/** The widest thumbnail, in pixels. */
const WIDEST = 480;
const GRACE_MS = 10_000;
/** Keep-alive timeout, in ms: longer than clients keep an idle connection. */
const KEEP_ALIVE_MS = 65_000;

export interface ServiceOptions {
  readonly port?: number;
  readonly cpus: number;
  readonly photos: number;
  readonly affinity: Affinity;
  readonly onCpu?: (event: CpuEvent) => void;
}

/** Counters of requests by outcome. */
export interface Counts {
  urgent: number;
  ahead: number;
  /** Work ahead that was refused on arrival. */
  refused: number;
  /** Work ahead that was withdrawn or cancelled in favour of urgent work. */
  shed: number;
  /** Urgent work that was refused. */
  overload: number;
  /** Clients that closed the connection before the answer. */
  hungUp: number;
  /** Of these, work that finished nevertheless, because its last check of the signal was over. */
  tooLate: number;
  failed: number;
}

export class ThumbnailService {
  readonly album: Album;
  readonly counts: Counts = {
    urgent: 0,
    ahead: 0,
    refused: 0,
    shed: 0,
    overload: 0,
    hungUp: 0,
    tooLate: 0,
    failed: 0,
  };
  /** For each client that closed: the time until its CPU had dropped the work, in ms. */
  readonly ridMs: number[] = [];
  readonly seats: Seats;
  readonly #kernel: Kernel;
  readonly #server: Server;
  readonly #urgent: Workqueue;
  readonly #ahead: Workqueue;

  private constructor(kernel: Kernel, album: Album, affinity: Affinity) {
    this.#kernel = kernel;
    this.album = album;
    this.seats = new Seats(kernel.cpus.slice(1), affinity);
    // One at a time on each CPU: two that alternate would both be late.
    this.#urgent = kernel.acquire(PRI_PRIHIGH, { perCpu: true, maxActive: 1 });
    // Urgent work can delay it, but after 2 s one is done nevertheless.
    this.#ahead = kernel.acquire(PRI_PRILOW, { perCpu: true, maxActive: 1, patienceMs: 2000 });
    this.#server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
      void this.#answer(request, response);
    });
  }

  /** Starts the CPUs, creates the album, and listens. */
  static async start(options: ServiceOptions): Promise<ThumbnailService> {
    const { port = 0, cpus, photos, affinity, onCpu } = options;
    const kernel = new Kernel();
    const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.')); // .ts, or .js when compiled
    await kernel.startCpus({
      module: new URL(`work${ending}`, import.meta.url),
      count: cpus,
      ...(onCpu === undefined ? {} : { onEvent: onCpu }),
    });
    try {
      const service = new ThumbnailService(kernel, await drawAlbum(kernel, photos), affinity);
      service.#server.listen(port, '127.0.0.1');
      await once(service.#server, 'listening');
      return service;
    } catch (error) {
      await kernel.close({ graceMs: 0 });
      throw error;
    }
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Number of requests sent to CPUs and not finished. */
  get inFlight(): number {
    return this.seats.all.reduce((sum, { urgent, ahead }) => sum + urgent.size + ahead.size, 0);
  }

  /** Returns the work that each CPU has done. */
  async tallies(): Promise<Tally[]> {
    return await Promise.all(this.seats.all.map(({ cpu }) => this.#urgent.run(tally, { cpu })));
  }

  /** Refuses new requests, withdraws work ahead, answers the others, and stops the CPUs. */
  async close(): Promise<CloseReport> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const { ahead } of this.seats.all) shed(ahead);
    await Promise.race([closed, this.#kernel.wq.prihigh.run(nothing, { delayMs: GRACE_MS })]);
    this.#server.closeAllConnections();
    return await this.#kernel.close({ graceMs: GRACE_MS });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    if (pathname === '/') return this.#reply(response, 200, page(this.album.keys()), 'text/html');
    if (pathname === '/stats') return await this.#tell(response);
    const photo = pathname.startsWith('/photos/') ? pathname.slice('/photos/'.length) : '';
    const jpeg = this.album.get(photo);
    if (jpeg === undefined) return this.#reply(response, 404, 'no such photo\n');
    const width = Number(searchParams.get('width'));
    if (!(Number.isInteger(width) && width >= 1 && width <= WIDEST)) {
      return this.#reply(response, 400, `width must be a whole number from 1 to ${WIDEST}\n`);
    }
    const urgent = request.headers['sec-purpose'] !== 'prefetch' && !searchParams.has('ahead');
    const client = searchParams.get('client') ?? request.socket.remoteAddress ?? '';
    const seat = this.seats.of(client);
    if (!this.#mayCome(seat, urgent)) {
      if (urgent) this.counts.overload++;
      else this.counts.refused++;
      return this.#later(response);
    }
    if (urgent && seat.urgent.size >= BUSY) shed(seat.ahead);
    await this.#make(response, seat, { photo, jpeg, width, urgent });
  }

  #mayCome({ urgent, ahead }: Seat, isUrgent: boolean): boolean {
    return isUrgent ? urgent.size < URGENT : ahead.size < AHEAD && urgent.size < BUSY;
  }

  async #make(
    response: ServerResponse,
    { cpu, urgent, ahead }: Seat,
    wanted: Parameters<typeof thumbnail>[0],
  ): Promise<void> {
    const { counts } = this;
    const controller = new AbortController();
    const { signal } = controller;
    const work: Work = { urgent: wanted.urgent, drop: (reason) => controller.abort(reason) };
    let hungUpAt = 0;
    response.once('close', () => {
      if (response.writableEnded) return;
      hungUpAt = performance.now();
      counts.hungUp++;
      controller.abort(new Error('the client has hung up'));
    });
    const line = wanted.urgent ? urgent : ahead;
    const wq = wanted.urgent ? this.#urgent : this.#ahead;
    line.add(work);
    try {
      const bytes = await wq.run(thumbnail, { arg: wanted, cpu, signal });
      if (hungUpAt > 0) counts.tooLate++;
      else if (wanted.urgent) counts.urgent++;
      else counts.ahead++;
      response.setHeader('x-cpu', cpu.index);
      this.#reply(response, 200, bytes, 'image/jpeg');
    } catch (error) {
      if (hungUpAt > 0) return;
      if (signal.aborted) {
        counts.shed++;
        return this.#later(response);
      }
      if (error instanceof KcontError && error.code === 'ECPUDIED') return this.#later(response);
      counts.failed++;
      this.#reply(response, 500, `${String(error)}\n`);
    } finally {
      line.delete(work);
      if (hungUpAt > 0) this.ridMs.push(performance.now() - hungUpAt);
    }
  }

  async #tell(response: ServerResponse): Promise<void> {
    const cpus = await this.tallies();
    const body = JSON.stringify({ counts: this.counts, moves: this.seats.moves, cpus });
    this.#reply(response, 200, body, 'application/json');
  }

  #later(response: ServerResponse): void {
    response.setHeader('retry-after', 1);
    this.#reply(response, 503, 'busy with what people wait for: ask again later\n');
  }

  #reply(
    response: ServerResponse,
    status: number,
    body: string | Uint8Array,
    type: string = 'text/plain',
  ): void {
    if (!this.#server.listening) response.setHeader('connection', 'close');
    response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
  }
}

/** Withdraws all work of a queue. The caller of each request answers it. */
function shed(queue: ReadonlySet<Work>): void {
  for (const work of queue) work.drop(new Error('urgent work comes first'));
}

function nothing(): void {}

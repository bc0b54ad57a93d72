/*
 * The HTTP server of the inspector. Nothing of it keeps the process alive. Continuations are measured and recorded
 * while a page asks for samples, and for a few seconds after.
 *
 * Each answer is bounded. A list is written in slices and no faster than the page reads, one list at a time. A page
 * that reads nothing for STALL_MS is disconnected; one that reads slowly keeps the list for itself for LIST_MS, and after
 * that until another page asks.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { real } from '../../base/host-functions.ts';
import { nothing } from '../../base/nothing.ts';
import { commonMs } from '../../time/host-clock.ts';
import type { KernelObserver } from '../kernel-observer.ts';
import { shorten } from '../shorten.ts';
import type { Guard, Refusal } from './guard.ts';
import { listing } from './listing.ts';
import { readPage, type PageFile } from './page-files.ts';
import type { Cursor } from './protocol.ts';
import { RingReader } from './ring-reader.ts';
import { Sampler } from './sampler.ts';

/** After so long without a request, nothing is measured any more, in ms. */
const IDLE_MS = 5000;
const HEADERS_MS = 5000;
const REQUEST_MS = 10_000;
const KEEP_ALIVE_MS = 5000;
/** For how long an answer may stand still because nothing of it is read, in ms. */
const STALL_MS = 10_000;
/** For how long a list keeps other pages from getting theirs, in ms. */
const LIST_MS = 30_000;
const MOST_CONNECTIONS = 24;
/** The longest body of a request, in bytes. */
const LONGEST_BODY = 4096;
/** The most rings of a cursor. */
const MOST_RINGS = 64;

const HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

const NOT_FOUND: Refusal = { status: 404, message: 'there is nothing here' };
const TOO_LARGE: Refusal = { status: 413, message: `a body has at most ${LONGEST_BODY} bytes` };
const NO_CURSOR: Refusal = {
  status: 400,
  message: 'the body must be an object as in the protocol',
};
const BUSY: Refusal = {
  status: 429,
  message: 'another list is being made',
  headers: { 'retry-after': '1' },
};

/**
 * How long others wait for a page that does not read what it has asked for.
 *
 * @internal
 */
export interface Limits {
  readonly stallMs?: number;
  readonly listMs?: number;
}

/** A list that is being sent. */
interface Sending {
  readonly response: ServerResponse;
  readonly sinceMs: number;
}

type Call = (body: unknown, response: ServerResponse) => void | Promise<void>;

/**
 * Serves the page and its data for one kernel.
 *
 * @internal
 */
export class InspectorServer {
  readonly #guard: Guard;
  readonly #observer: KernelObserver;
  readonly #server: Server;
  readonly #page: ReadonlyMap<string, PageFile> = readPage();
  readonly #sampler: Sampler;
  readonly #rings: RingReader;
  readonly #closed: Promise<void>;
  #idle: NodeJS.Timeout | null = null;
  readonly #listMs: number;
  #sending: Sending | null = null;
  readonly #calls: ReadonlyMap<string, Call> = new Map<string, Call>([
    ['/api/sample', (_, response) => this.#sample(response)],
    ['/api/continuations', (_, response) => this.#list(response)],
    ['/api/records', (body, response) => this.#records(body, response)],
  ]);

  constructor(
    observer: KernelObserver,
    guard: Guard,
    { stallMs = STALL_MS, listMs = LIST_MS }: Limits = {},
  ) {
    this.#listMs = listMs;
    this.#observer = observer;
    this.#guard = guard;
    this.#sampler = new Sampler(observer);
    this.#rings = new RingReader(observer);
    this.#server = createServer({
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: HEADERS_MS,
    });
    // Begins anew with each byte that is read. Without a listener for it, the connection is destroyed.
    this.#server.timeout = stallMs;
    this.#server.maxConnections = MOST_CONNECTIONS;
    this.#server.on('connection', (socket: Socket) => socket.unref());
    this.#server.on('request', (request, response) => void this.#answer(request, response));
    this.#server.unref();
    this.#closed = new Promise((resolve) => {
      this.#server.on('close', resolve);
    });
  }

  /** Begins to listen, and returns the port. */
  listen(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      // In a cluster, each process has its own.
      this.#server.listen({ port, host, exclusive: true }, () => {
        this.#server.off('error', reject);
        this.#server.on('error', nothing);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  close(): Promise<void> {
    this.#stop();
    this.#server.close();
    this.#server.closeAllConnections();
    return this.#closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', nothing);
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const { url = '' } = request;
    const file = this.#page.get(url);
    const call = this.#calls.get(url);
    const refusal =
      this.#guard.refuseHost(request) ??
      (file !== undefined ? this.#guard.refuseAsset(request) : undefined) ??
      (call !== undefined ? this.#guard.refuseCall(request) : undefined) ??
      (file === undefined && call === undefined ? NOT_FOUND : undefined);
    if (refusal !== undefined) {
      refuse(response, refusal);
      return;
    }
    if (file !== undefined) {
      response.setHeader('content-type', file.type);
      response.setHeader('content-length', file.body.length);
      response.end(request.method === 'HEAD' ? undefined : file.body);
      return;
    }
    try {
      const body = await readBody(request);
      if (body === TOO_LONG) refuse(response, TOO_LARGE);
      else if (typeof body !== 'object' || body === null) refuse(response, NO_CURSOR);
      else await (call as Call)(body, response);
    } catch {
      // The connection was lost, or what user code has made of a name has thrown.
      response.destroy();
    }
  }

  #start(): void {
    this.#sampler.start();
    this.#rings.start();
    if (this.#idle === null) {
      this.#idle = real.setTimeout(() => this.#stop(), IDLE_MS);
      this.#idle.unref();
    } else this.#idle.refresh();
  }

  #stop(): void {
    if (this.#idle !== null) real.clearTimeout(this.#idle);
    this.#idle = null;
    this.#sampler.stop();
    this.#rings.stop();
  }

  #sample(response: ServerResponse): void {
    this.#start();
    sendJson(response, this.#sampler.take());
  }

  #records(body: unknown, response: ServerResponse): void {
    if (!isCursor(body)) {
      refuse(response, NO_CURSOR);
      return;
    }
    this.#start();
    response.setHeader('content-type', 'application/octet-stream');
    response.end(this.#rings.read(body));
  }

  async #list(response: ServerResponse): Promise<void> {
    const nowMs = commonMs();
    if (this.#sending !== null) {
      if (nowMs - this.#sending.sinceMs < this.#listMs) {
        refuse(response, BUSY);
        return;
      }
      this.#sending.response.destroy();
    }
    const sending: Sending = { response, sinceMs: nowMs };
    this.#sending = sending;
    try {
      response.setHeader('content-type', 'application/x-ndjson');
      for await (const line of listing(this.#observer)) {
        if (!response.write(line)) await drained(response);
        if (response.destroyed) return;
      }
      response.end();
    } finally {
      // Another one may have taken its place.
      if (this.#sending === sending) this.#sending = null;
    }
  }
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(value, shortened));
}

/** The longest sentence, in characters: it can have several names. */
const LONGEST_MESSAGE = 2000;

/** Bounds each text of an answer, whatever it is. */
function shortened(key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  return key === 'message' ? shorten(value, LONGEST_MESSAGE) : shorten(value);
}

function refuse(response: ServerResponse, { status, message, headers = {} }: Refusal): void {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  response.statusCode = status;
  // What is left of the request is not read.
  response.setHeader('connection', 'close');
  sendJson(response, { error: message });
}

/** Stands for a body that is too long. */
const TOO_LONG = Symbol('too long');

async function readBody(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request) {
    length += (part as Buffer).length;
    if (length > LONGEST_BODY) return TOO_LONG;
    parts.push(part as Buffer);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    return undefined;
  }
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isCursor(body: unknown): body is Cursor {
  const { source = 0, rings = [] } = body as { source?: unknown; rings?: unknown };
  return (
    isCount(source) &&
    Array.isArray(rings) &&
    rings.length <= MOST_RINGS &&
    rings.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every(isCount))
  );
}

/** Resolves when the page has read enough, or is gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      response.off('drain', go);
      response.off('close', go);
      resolve();
    };
    response.on('drain', go);
    response.on('close', go);
  });
}

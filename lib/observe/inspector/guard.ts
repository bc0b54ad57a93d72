/*
 * Decides which requests are answered. What is to be kept out is another page in the same browser:
 *
 *   Host     it makes a name of its own point to this address (DNS rebinding), and is then of the same origin as
 *            this server. The Host header has that name, which is not one of ours. An address is no name
 *   Origin   it sends requests to this address. The browser adds an Origin header, which must be ours. It also adds
 *            Sec-Fetch-Site, which keeps scripts and style sheets from being loaded elsewhere
 *   token    it cannot know the token, which no browser adds by itself, as it does cookies: it is in a header that
 *            another page may not set, and in the fragment of the link, which is never sent
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP, isIPv6 } from 'node:net';

/**
 * Why a request is not answered.
 *
 * @internal
 */
export interface Refusal {
  readonly status: number;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Reached from this machine alone. */
const LOOPBACK: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '::1']);

/**
 * Returns the name or address in a Host header, without brackets and port, in lower case; null: it is malformed.
 *
 * @internal
 */
export function hostOf(header: string | undefined): string | null {
  const found = /^(?:\[([\da-f:.]+)\]|([\w.-]+))(?::\d{1,5})?$/i.exec(header ?? '');
  return (found?.[1] ?? found?.[2])?.toLowerCase() ?? null;
}

/**
 * Returns the form in which a browser sends a host name or an address in a Host header, without brackets; null: it is
 * neither, or one that no header can have. A port is not part of it, since headers are compared without theirs.
 *
 * @internal
 */
export function nameInHeader(name: string): string | null {
  const isAddress = isIPv6(name);
  if (!isAddress && !/^[\w.-]+$/.test(name)) return null;
  try {
    return hostOf(new URL(`http://${isAddress ? `[${name}]` : name}`).hostname);
  } catch {
    return null;
  }
}

/**
 * Whether an address or name is that of this machine alone.
 *
 * @internal
 */
export function isLoopback(host: string): boolean {
  return LOOPBACK.has(host.toLowerCase()) || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/**
 * Checks requests.
 *
 * @internal
 */
export class Guard {
  readonly #names: ReadonlySet<string>;
  readonly #isRemote: boolean;
  readonly #token: Buffer;

  /** @param names - those under which it may be reached, beside its addresses */
  constructor(host: string, names: readonly string[], token: string) {
    const all = [host, ...LOOPBACK, ...names];
    this.#names = new Set(all.map((name) => nameInHeader(name) ?? name));
    this.#isRemote = !isLoopback(host);
    this.#token = digest(token);
  }

  /** Whether the Host header names this server. */
  refuseHost({ headers }: IncomingMessage): Refusal | undefined {
    const host = hostOf(headers.host);
    if (host !== null && (this.#names.has(host) || (this.#isRemote && isIP(host) !== 0))) {
      return undefined;
    }
    return { status: 403, message: 'this host name is not one of allowedHosts' };
  }

  /** A request for a file of the page. */
  refuseAsset({ method, headers }: IncomingMessage): Refusal | undefined {
    if (method !== 'GET' && method !== 'HEAD') return wrongMethod('GET, HEAD');
    const site = headers['sec-fetch-site'];
    if (site === undefined || site === 'same-origin' || site === 'none') return undefined;
    // A link on another page may lead here. The page has no data before it is given the token.
    if (headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document') {
      return undefined;
    }
    return FOREIGN;
  }

  /** A request for data. */
  refuseCall({ method, headers }: IncomingMessage): Refusal | undefined {
    if (method !== 'POST') return wrongMethod('POST');
    const { origin, host = '', authorization = '' } = headers;
    if (origin?.toLowerCase() !== `http://${host.toLowerCase()}`) return FOREIGN;
    const site = headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin') return FOREIGN;
    const given = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
    if (given === undefined || !timingSafeEqual(digest(given), this.#token)) {
      const message = 'the token is missing or wrong: open the link that the program has printed';
      return { status: 401, message, headers: { 'www-authenticate': 'Bearer' } };
    }
    if (!/^application\/json\b/i.test(headers['content-type'] ?? '')) {
      return { status: 415, message: 'the content type must be application/json' };
    }
    return undefined;
  }
}

const FOREIGN: Refusal = { status: 403, message: 'this request comes from another page' };

function wrongMethod(allow: string): Refusal {
  return { status: 405, message: `the method must be ${allow}`, headers: { allow } };
}

/**
 * A page that shows what a kernel does: workqueues and their latencies, CPUs, runs in flight, locks, every
 * continuation, and a timeline of the last ten seconds.
 *
 * @packageDocumentation
 */

import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { integerOf, kindOf, optionsOf, readOptions } from '../../base/options-check.ts';
import { kernel as processKernel, type Kernel } from '../../core/kernel.ts';
import { observerOf } from '../kernel-observer.ts';
import { KERNEL } from '../list.ts';
import { Guard, nameInHeader } from './guard.ts';
import { InspectorServer } from './inspector-server.ts';

/**
 * Optional settings of {@link serveInspector}.
 *
 * @public
 */
export interface InspectorOptions {
  /** The kernel that is shown. Default: the process-wide kernel. */
  kernel?: Kernel;
  /** The port, 0 to 65535; 0: one that is free. Default 0. */
  port?: number;
  /**
   * The address or name to listen on. Any other than a loopback address lets other machines connect, and everything,
   * the token included, is sent to them unencrypted. Default `'127.0.0.1'`.
   */
  host?: string;
  /**
   * Further host names under which the page may be opened, at any port; without a port. Addresses are always allowed, as
   * far as `host` lets them connect; names are not, because any page can have a name that leads here. Default: none.
   */
  allowedHosts?: readonly string[];
  /**
   * The secret that the page must send, 16 or more of the characters `A-Z a-z 0-9 - _`. Default: 32 random ones.
   */
  token?: string;
}

/**
 * The inspector that {@link serveInspector} has started.
 *
 * @public
 */
export interface Inspector {
  /**
   * The link to the page. It contains the token, after `#`: a browser does not send that part to anyone. Whoever has the
   * link can see the names of all continuations.
   */
  readonly url: string;
  /** The port. */
  readonly port: number;
  /**
   * Ends all connections and stops listening.
   *
   * @returns a promise that resolves when the port is free; the same for further calls
   */
  close(): Promise<void>;
  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

const TOKEN = /^[\w-]{16,512}$/;
const TOKEN_BYTES = 24;
const MOST_PORTS = 65_535;
const HOST_NAME = /^[\w.-]+$/;

const HOST = kindOf(
  'a host name or an address, without a port',
  (value) => typeof value === 'string' && (HOST_NAME.test(value) || isIP(value) !== 0),
);
const OPTIONS = optionsOf<InspectorOptions>('serveInspector', {
  kernel: KERNEL,
  port: integerOf('an integer from 0 to 65535', 0, MOST_PORTS),
  host: HOST,
  allowedHosts: kindOf(
    'an array of host names without ports',
    (value) =>
      Array.isArray(value) &&
      Array.from<unknown>(value).every(
        (name) => typeof name === 'string' && nameInHeader(name) !== null,
      ),
  ),
  token: kindOf('16 to 512 of the characters A-Z a-z 0-9 - _', isToken),
});

function isToken(value: unknown): boolean {
  return typeof value === 'string' && TOKEN.test(value);
}

/** What is in the link for an address that means all addresses. */
const LINKED: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/**
 * Starts a server for a page that shows what a kernel does, on this machine only.
 *
 * @remarks
 * The server does not keep the process alive. Nothing is measured while no page is open; then each run costs as much
 * as with `histograms` and the flight recorder of `kcont/observe` together. The page changes nothing in the program.
 *
 * @param options - where it listens, and what it shows
 * @returns the inspector, once it listens; rejected with the error of the system if it cannot
 * @throws KcontError EINVAL for an invalid option, as a rejection
 *
 * @example
 * ```ts
 * const inspector = await serveInspector();
 * console.log(`Inspector: ${inspector.url}`);
 * ```
 *
 * @public
 */
export async function serveInspector(options?: InspectorOptions): Promise<Inspector> {
  const given = readOptions(options, OPTIONS, serveInspector);
  const { kernel = processKernel, port: wanted = 0, host = '127.0.0.1', allowedHosts = [] } = given;
  const { token = randomBytes(TOKEN_BYTES).toString('base64url') } = given;
  const server = new InspectorServer(observerOf(kernel), new Guard(host, allowedHosts, token));
  const port = await server.listen(wanted, host);
  const linked = LINKED[host] ?? host;
  const url = `http://${linked.includes(':') ? `[${linked}]` : linked}:${port}/#token=${token}`;
  const close = (): Promise<void> => server.close();
  return { url, port, close, [Symbol.asyncDispose]: close };
}

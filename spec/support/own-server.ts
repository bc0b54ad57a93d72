// A PostgreSQL server of the specs' own, which they may restart. It ends with this process.

import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { ROOT } from './root.ts';

/** A server with a data directory of its own. */
export class OwnServer {
  readonly url: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  private constructor(
    url: string,
    child: ChildProcessByStdio<Writable, Readable, null>,
    lines: AsyncIterator<string>,
  ) {
    this.url = url;
    this.#child = child;
    this.#lines = lines;
  }

  /** Starts a server; undefined: there are no binaries on this machine. */
  static async start(): Promise<OwnServer | undefined> {
    const args = [join(ROOT, 'scripts/database.mjs'), 'serve'];
    const child = spawn(process.execPath, args, {
      cwd: ROOT,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const { value, done } = await lines.next();
    return done === true ? undefined : new OwnServer(value, child, lines);
  }

  /** Restarts it; `immediate`: as if it had crashed. */
  async restart(how: 'fast' | 'immediate'): Promise<void> {
    this.#child.stdin.write(`${how}\n`);
    const { value } = await this.#lines.next();
    if (value !== 'restarted') throw new Error(`the server was not restarted: ${String(value)}`);
  }

  /** Stops it, and removes its data. */
  async stop(): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#child.stdin.end();
    await gone;
  }
}

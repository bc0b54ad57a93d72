import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.')); // .ts, or .js when compiled

/** How a program ended. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running example, and its output so far. */
export class Program {
  stdout = '';
  stderr = '';
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #closed: Promise<unknown>;

  constructor(example: string, ...args: string[]) {
    const main = fileURLToPath(new URL(`../../examples/${example}/main${ending}`, import.meta.url));
    this.#child = spawn(process.execPath, [main, ...args]);
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.#closed = once(this.#child, 'close');
  }

  /** Waits until the output matches. */
  async printed(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.stdout);
      if (match !== null) return match;
      // oxlint-disable-next-line no-await-in-loop
      await Promise.race([once(this.#child.stdout, 'data'), this.#failed(pattern)]);
    }
  }

  async ended(): Promise<Outcome> {
    await this.#closed;
    return { code: this.#child.exitCode, stdout: this.stdout, stderr: this.stderr };
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async #failed(pattern: RegExp): Promise<never> {
    await this.#closed;
    throw new Error(`ended before it printed ${String(pattern)}: ${this.stdout}${this.stderr}`);
  }
}

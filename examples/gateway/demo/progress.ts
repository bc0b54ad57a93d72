import type { WriteStream } from 'node:tty';

/** A progress line: rewritten in place on a terminal, printed once a second elsewhere. */
export class Progress {
  readonly #out: WriteStream;
  #lastPrinted = 0;

  constructor(out: WriteStream) {
    this.#out = out;
  }

  show(line: string): void {
    if (this.#out.isTTY) {
      this.#out.write(`\r${line.slice(0, this.#out.columns - 1)}\x1b[K`);
    } else if (performance.now() - this.#lastPrinted >= 1000) {
      this.#lastPrinted = performance.now();
      this.#out.write(`${line}\n`);
    }
  }

  clear(): void {
    if (this.#out.isTTY) this.#out.write('\r\x1b[K');
  }
}

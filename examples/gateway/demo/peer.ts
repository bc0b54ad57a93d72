import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

interface Message {
  readonly type: string;
}

/** A child process that one exchanges typed messages with. */
export class Peer<Out extends Message, In extends Message> {
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #listeners: Map<string, (message: In) => void> = new Map();
  #fail: (error: Error) => void = () => {};
  readonly #failed: Promise<never>;

  /** Starts a module that stands beside the one whose URL is given. */
  constructor(name: string, module: string, besideUrl: string, args: readonly string[] = []) {
    this.#name = name;
    const ending = besideUrl.slice(besideUrl.lastIndexOf('.')); // .ts from source, .js when compiled
    this.#child = fork(new URL(module + ending, besideUrl), args, {
      serialization: 'advanced', // typed arrays go through as such
      execArgv: [...process.execArgv, '--expose-gc'],
    });
    this.#failed = new Promise((_, reject) => (this.#fail = reject));
    this.#failed.catch(() => {}); // whoever waits hears of it; nobody has to wait
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        resolve(code);
        this.#fail(new Error(`the ${name} process ended too early (${signal ?? `exit ${code}`})`));
      });
    });
    this.#child.on('error', (error) => this.#fail(error));
    this.#child.on('message', (message) => {
      const received = message as In;
      this.#listeners.get(received.type)?.(received);
    });
  }

  send(message: Out): void {
    if (this.#child.connected) this.#child.send(message);
  }

  /** Calls back for every message of a type, until `next` of the same type. */
  on<T extends In['type']>(type: T, listener: (message: Extract<In, { type: T }>) => void): void {
    this.#listeners.set(type, listener as (message: In) => void);
  }

  /** The next message of a type. Rejects when the process ends, or does not answer in time. */
  next<T extends In['type']>(type: T, withinMs: number): Promise<Extract<In, { type: T }>> {
    return this.#within(
      new Promise((resolve) => this.on(type, resolve)),
      withinMs,
      `the ${this.#name} process did not say '${type}' within ${withinMs} ms`,
    );
  }

  /** Its exit code, when it has ended by itself. */
  ended(withinMs: number): Promise<number | null> {
    const late = `the ${this.#name} process did not end by itself within ${withinMs} ms`;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(late)), withinMs);
    });
    return Promise.race([this.exited, timeout]).finally(() => clearTimeout(timer));
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Makes sure that nothing of it stays behind. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.signal('SIGKILL');
    await this.exited;
  }

  #within<T>(promise: Promise<T>, withinMs: number, late: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(late)), withinMs);
    });
    return Promise.race([promise, timeout, this.#failed]).finally(() => clearTimeout(timer));
  }
}

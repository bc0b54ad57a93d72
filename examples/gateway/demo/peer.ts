import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

interface Message {
  readonly type: string;
}

/** A process did not answer: it hangs, or the machine is overloaded. */
export class NoAnswerError extends Error {}

/** Time in which a process must answer, in ms; long enough for an overloaded machine. */
const ANSWER_MS = 60_000;

/** A child process with typed messages. */
export class Peer<Out extends Message, In extends Message> {
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #listeners: Map<string, (message: In) => void> = new Map();
  #fail: (error: Error) => void = () => {};
  readonly #failed: Promise<never>;

  /** Starts a module in the folder of the module with the given URL. */
  constructor(name: string, module: string, besideUrl: string, args: readonly string[] = []) {
    this.#name = name;
    const ending = besideUrl.slice(besideUrl.lastIndexOf('.')); // .ts from source, .js when compiled
    this.#child = fork(new URL(module + ending, besideUrl), args, {
      serialization: 'advanced', // keeps typed arrays
      execArgv: [...process.execArgv, '--expose-gc'],
    });
    this.#failed = new Promise((_, reject) => (this.#fail = reject));
    this.#failed.catch(() => {}); // callers that wait see the rejection; there may be none
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

  /** Sends a message, and returns the answer. */
  ask<T extends In['type']>(question: Out, answer: T): Promise<Extract<In, { type: T }>> {
    const answered = this.next(answer);
    this.send(question);
    return answered;
  }

  /**
   * The next message of a type. Rejects when the process ends, or does not answer in time.
   * @throws NoAnswerError
   */
  next<T extends In['type']>(
    type: T,
    withinMs: number = ANSWER_MS,
  ): Promise<Extract<In, { type: T }>> {
    const said = new Promise<Extract<In, { type: T }>>((resolve) => this.on(type, resolve));
    const late = `the ${this.#name} process did not say '${type}' within ${withinMs} ms`;
    return within(Promise.race([said, this.#failed]), withinMs, late);
  }

  /**
   * Waits for its exit, and returns its exit code.
   * @throws NoAnswerError
   */
  ended(): Promise<number | null> {
    const late = `the ${this.#name} process did not end by itself within ${ANSWER_MS} ms`;
    return within(this.exited, ANSWER_MS, late);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Kills the process if it still runs, and waits until it has exited. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.signal('SIGKILL');
    await this.exited;
  }
}

function within<T>(promise: Promise<T>, ms: number, late: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new NoAnswerError(late)), ms);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}

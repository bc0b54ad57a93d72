/*
 * The threads of a process that is watched. Each has a socket of its own, and is asked by itself: while one is blocked,
 * the others are shown as they are.
 */

import { race } from '../../base/race.ts';
import type { Line, ProcessLine, SampleLine } from '../socket/protocol.ts';
import { Failure, type Connection } from './connection.ts';

/** One answer. @internal */
export interface Sampled {
  readonly process: ProcessLine;
  readonly sample: SampleLine;
}

async function sampleOf(connection: Connection, late?: (ms: number) => void): Promise<Sampled> {
  const lines: Line[] = [];
  await connection.ask('sample', (line) => lines.push(line), late);
  const process = lines.find((line) => line.type === 'process');
  const sample = lines.find((line) => line.type === 'sample');
  if (process === undefined || sample === undefined) {
    throw new Failure(`process ${connection.name.pid} does not answer as kcont does`);
  }
  return { process, sample };
}

/** One thread. */
class Thread {
  readonly connection: Connection;
  last: Sampled | null = null;
  /** For how long it has not answered; 0: it has, or it has just been asked. */
  silentMs = 0;
  #asked: Promise<void> | null = null;
  #late: () => void = () => undefined;

  constructor(connection: Connection) {
    this.connection = connection;
  }

  /** Asks for a sample. If it is still being asked, that is what is waited for. */
  ask(late: () => void): Promise<void> {
    this.#late = late;
    return (this.#asked ??= this.#ask().finally(() => (this.#asked = null)));
  }

  async #ask(): Promise<void> {
    this.last = await sampleOf(this.connection, (ms) => {
      this.silentMs = ms;
      this.#late();
    });
    this.silentMs = 0;
  }
}

/**
 * The threads of one process.
 *
 * @internal
 */
export class Threads {
  #threads: readonly Thread[];
  readonly #warn: (message: string) => void;

  /** @param warn - told of each thread that does not answer any more, if another one does */
  constructor(connections: readonly Connection[], warn: (message: string) => void) {
    this.#threads = connections.map((connection) => new Thread(connection));
    this.#warn = warn;
  }

  /** How many there are. */
  get size(): number {
    return this.#threads.length;
  }

  /** The last answers, in the order of the threads. */
  get last(): readonly Sampled[] {
    return this.#threads.flatMap(({ last }) => last ?? []);
  }

  /** The threads that do not answer at present, and for how long. */
  get silent(): readonly { readonly thread: number; readonly ms: number }[] {
    return this.#threads
      .filter(({ silentMs }) => silentMs > 0)
      .map(({ connection, silentMs }) => ({ thread: connection.name.thread, ms: silentMs }));
  }

  /**
   * Asks all, and waits for them.
   *
   * @returns their answers
   * @throws Failure if none answers
   */
  async take(): Promise<readonly Sampled[]> {
    const threads = this.#threads;
    const asked = threads.map(({ connection }) => sampleOf(connection));
    const answers = await Promise.allSettled(asked);
    const sampled: Sampled[] = [];
    for (const [index, answer] of answers.entries()) {
      if (answer.status === 'fulfilled') sampled.push(answer.value);
      else this.#drop(threads[index] as Thread, answer.reason);
    }
    return sampled;
  }

  /**
   * Asks all that are not late, and waits until each has answered or is late; or for the first, if all are late.
   *
   * @param late - called now and then while one is late
   * @returns a promise rejected with a Failure if none is left
   */
  async watch(late: () => void): Promise<void> {
    const prompt = this.#threads.filter(({ silentMs }) => silentMs === 0);
    const asked = prompt.length > 0 ? prompt : this.#threads;
    const answers = asked.map(
      (thread) =>
        new Promise<void>((resolve) => {
          let isOver = false;
          const end = (): void => {
            if (!isOver) resolve();
            isOver = true;
          };
          const tell = (): void => {
            late();
            if (this.#threads.length > 1) end();
          };
          thread.ask(tell).then(end, (error: unknown) => {
            this.#failed(thread, error);
            end();
          });
        }),
    );
    await (prompt.length > 0 ? Promise.all(answers) : race(answers));
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  #failure: { readonly error: unknown } | undefined;

  #failed(thread: Thread, error: unknown): void {
    try {
      this.#drop(thread, error);
    } catch (last) {
      this.#failure = { error: last };
    }
  }

  /** Goes on without a thread; throws if it is the last one, or for another error than that of its connection. */
  #drop(thread: Thread, error: unknown): void {
    const rest = this.#threads.filter((one) => one !== thread);
    if (rest.length === 0 || !(error instanceof Failure)) throw error;
    this.#threads = rest;
    this.#warn(error.message);
  }
}

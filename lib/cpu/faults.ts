/*
 * Errors between CPUs: what a function throws on one CPU is told where its handle was made.
 *
 * An error travels as its name, message, stack, code, cause and what else of it can be cloned, and
 * is an instance of the class of that name again if it is one of the language's or a KcontError.
 */

import { reportLater } from '../enter.ts';
import { KcontError, type KcontErrorCode } from '../errors.ts';
import { label } from '../schedule.ts';
import { HOME } from './block.ts';
import type { CpuMachine } from './machine.ts';
import { FAILED } from './mail.ts';
import type { RemoteHandle } from './remote-handle.ts';

/** An error, as it travels. */
interface WiredError {
  readonly isError: boolean;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly own: Record<string, unknown>;
  /** Something that is no error, but was thrown. */
  readonly value: unknown;
}

const CLASSES: Readonly<Record<string, new (message: string) => Error>> = {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

/** Causes of causes are followed so far. */
const DEEPEST = 8;

/** An error in a form that can be cloned, whatever was thrown. */
export function wireError(error: unknown, depth = 0): WiredError {
  if (!(error instanceof Error)) {
    return {
      isError: false,
      name: '',
      message: '',
      stack: undefined,
      own: {},
      value: plain(error),
    };
  }
  const own: Record<string, unknown> = {};
  for (const key of Object.getOwnPropertyNames(error)) {
    if (key === 'message' || key === 'stack' || key === 'name') continue;
    const value = (error as unknown as Record<string, unknown>)[key];
    own[key] = key === 'cause' && depth < DEEPEST ? wireError(value, depth + 1) : plain(value);
  }
  const { name, message, stack } = error;
  return {
    isError: true,
    name: text(name),
    message: text(message),
    stack,
    own,
    value: undefined,
  };
}

/** Whoever throws may have put anything there. */
function text(value: unknown): string {
  return String(value);
}

/** The value if it can be cloned, or how it reads. */
function plain(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return String(value);
  }
}

/** The error of `wireError`. */
export function unwireError(wired: unknown): unknown {
  const { isError, name, message, stack, own, value } = wired as WiredError;
  if (!isError) return value;
  const error =
    name === 'KcontError'
      ? new KcontError(own['code'] as KcontErrorCode, message)
      : new (CLASSES[name] ?? Error)(message);
  const more: PropertyDescriptorMap = {};
  for (const [key, inner] of Object.entries(own)) {
    const is = key === 'cause' ? unwireError(inner) : inner;
    more[key] = { value: is, configurable: true, enumerable: key !== 'cause', writable: true };
  }
  if (error.name !== name) more['name'] = { value: name, configurable: true, writable: true };
  more['stack'] = { value: stack, configurable: true, writable: true };
  return Object.defineProperties(error, more);
}

/** Errors of functions that run on another CPU than the one where their handle was made. */
export class Faults {
  readonly #machine: CpuMachine;

  constructor(machine: CpuMachine) {
    this.#machine = machine;
  }

  /** A function has failed here. False: its handle was made here. */
  failed(remote: RemoteHandle, error: unknown): boolean {
    const machine = this.#machine;
    const home = machine.memory.words[remote.block + HOME] as number;
    if (home === machine.index) return false;
    const posted = machine.bells.post(home, wireError(error));
    machine.send(home, FAILED, remote.block, remote.handle, 0, posted);
    return true;
  }

  /** A run was ended from outside, wherever it was. */
  failedAt(remote: RemoteHandle, error: unknown): void {
    if (this.failed(remote, error)) return;
    remote.kc._wq._failed++;
    this.#machine.later(() => reportLater(this.#machine.dispatcher, remote.kc, error));
  }

  /** What a function has to be called with is gone, with the CPU that knew it. */
  lost(remote: RemoteHandle): void {
    const what = `${label(remote.kc)} was stopped: the CPU that knew its argument has died`;
    reportLater(this.#machine.dispatcher, remote.kc, new KcontError('ECPUDIED', what));
  }

  /** A function has failed elsewhere, whose handle was made here. */
  reported(block: number, handle: number, message: [unknown] | undefined): void {
    const machine = this.#machine;
    if (message === undefined) return;
    const remote = machine.blocks.find(block, handle) ?? machine.blocks.face(block);
    reportLater(machine.dispatcher, remote.kc, unwireError(message[0]));
  }
}

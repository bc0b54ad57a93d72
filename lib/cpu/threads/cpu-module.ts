/*
 * The CPU module: its exported functions can run on any CPU.
 *
 * Every CPU imports it. The exported functions are numbered in the order of their names, so a function
 * has the same number on all CPUs. Functions are recognized by identity. Any other function, for example
 * a closure or a bound copy of an exported function, runs only on the CPU on which it was made.
 */

import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import { KcontError, invalid, isA } from '../../base/errors.ts';

/** Any function. */
export type AnyFunction = (...args: never[]) => unknown;

/** Returns the URL of a module that is given as a URL or an absolute path. */
export function moduleUrl(module: unknown): string {
  if (isA(module, URL)) return module.href;
  if (typeof module === 'string') {
    if (/^(?:file|data|node):/.test(module)) return module;
    if (isAbsolute(module)) return pathToFileURL(module).href;
  }
  throw invalid(
    'module',
    "a file URL, as new URL('../work.js', import.meta.url), or an absolute path",
    module,
  );
}

/** The functions of one CPU's instance of the module. */
export class CpuModule {
  /** The exports of the module. */
  readonly namespace: Readonly<Record<string, unknown>>;
  /** The names of the functions, sorted. */
  readonly names: readonly string[];
  readonly #functions: readonly (AnyFunction | undefined)[];
  readonly #indices = new Map<unknown, number>();

  private constructor(namespace: Record<string, unknown>, names: readonly string[] | undefined) {
    const functions = new Map<string, AnyFunction>();
    const exported = namespace['default'];
    // The default export of a CommonJS module is its `module.exports`, whose functions count too.
    const sources =
      typeof exported === 'object' && exported !== null ? [exported, namespace] : [namespace];
    for (const source of sources) {
      for (const [name, value] of Object.entries(source)) {
        if (typeof value === 'function') functions.set(name, value as AnyFunction);
      }
    }
    this.namespace = namespace;
    this.names = names ?? [...functions.keys()].toSorted();
    this.#functions = this.names.map((name) => functions.get(name));
    for (const [index, func] of this.#functions.entries()) {
      if (func !== undefined && !this.#indices.has(func)) this.#indices.set(func, index);
    }
  }

  /**
   * Imports the module.
   *
   * @param names - the names of the functions of CPU 0's instance; by default those of this instance
   */
  static async load(url: string, names?: readonly string[]): Promise<CpuModule> {
    try {
      return new CpuModule((await import(url)) as Record<string, unknown>, names);
    } catch (error) {
      if ((error as { code?: unknown } | null)?.code !== 'ERR_UNKNOWN_FILE_EXTENSION') throw error;
      throw new KcontError(
        'ENOTSUP',
        `this Node (${process.version}) cannot run ${url}: name the JavaScript it compiles to, or take Node 22.18 or later, which runs TypeScript`,
      );
    }
  }

  /** Returns the number of a function; undefined if the module does not export it. */
  indexOf(func: unknown): number | undefined {
    return this.#indices.get(func);
  }

  /** Returns the function with a number; undefined if this CPU's instance does not export it. */
  at(index: number): AnyFunction | undefined {
    return this.#functions[index];
  }
}

/** Says why a function cannot run on another CPU. */
export function tied(name: string): string {
  return `${name || '(anonymous)'} runs on its own CPU only: export it from the CPU module to run it anywhere`;
}

/** Says why a function with an async context cannot run on another CPU. */
export function contextual(name: string): string {
  return `${name || '(anonymous)'} cannot take its AsyncLocalStorage stores to another CPU: make it with context 'none'`;
}

/** Says why a function cannot run on another CPU with its lock. */
export function locked(name: string): string {
  return ofOneCpu(`the lock of ${name || '(anonymous)'}`);
}

/** Says why a lock cannot leave its CPU. */
export function ofOneCpu(lock: string): string {
  return `${lock} is one of this CPU only: take one of kcont/cpu, which all CPUs share`;
}

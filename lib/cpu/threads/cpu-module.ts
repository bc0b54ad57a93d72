/*
 * The CPU module: which functions can run on any CPU, and what they are called there.
 *
 * Every CPU imports it. Its exported functions, in the order of their names, have the same numbers
 * on all of them. A function is known by its identity: one that only looks like an exported one, a
 * closure or a bound function among them, runs where it was made.
 */

import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import { KcontError, invalid, isA } from '../../base/errors.ts';

/** Any function. */
export type AnyFunction = (...args: never[]) => unknown;

/** The URL of a module that is named by a URL or an absolute path. */
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
  /** What it exports. For a CommonJS module: what it has as `module.exports`, too. */
  readonly namespace: Readonly<Record<string, unknown>>;
  /** In the order of their names. */
  readonly names: readonly string[];
  readonly #functions: readonly (AnyFunction | undefined)[];
  readonly #indices = new Map<unknown, number>();

  private constructor(namespace: Record<string, unknown>, names: readonly string[] | undefined) {
    const functions = new Map<string, AnyFunction>();
    const exported = namespace['default'];
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
   * Imports it.
   *
   * @param names - the functions of CPU 0's instance; by default those of this one
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

  /** The number of a function; undefined: it is none of the module's. */
  indexOf(func: unknown): number | undefined {
    return this.#indices.get(func);
  }

  /** The function of a number; undefined: this CPU's instance does not export it. */
  at(index: number): AnyFunction | undefined {
    return this.#functions[index];
  }
}

/** Why a function cannot run on another CPU. */
export function tied(name: string): string {
  return `${name || '(anonymous)'} runs on its own CPU only: export it from the CPU module to run it anywhere`;
}

/** Why a function cannot run on another CPU in a context. */
export function contextual(name: string): string {
  return `${name || '(anonymous)'} cannot take its AsyncLocalStorage stores to another CPU: make it with context 'none'`;
}

/** Why a function cannot run on another CPU with its lock. */
export function locked(name: string): string {
  return ofOneCpu(`the lock of ${name || '(anonymous)'}`);
}

/** Why a lock cannot leave its CPU. */
export function ofOneCpu(lock: string): string {
  return `${lock} is one of this CPU only: take one of kcont/cpu, which all CPUs share`;
}

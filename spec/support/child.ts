import { execFile } from 'node:child_process';

/** The library as a child process imports it. */
const library = new URL('../../lib/index.js', import.meta.url).href;

export interface Ended {
  readonly code: number;
  readonly out: string[];
  readonly err: string;
}

/** Runs a module that has imported all of the library as `kcont`, until it ends by itself. */
export function runModule(source: string, ...nodeOptions: string[]): Promise<Ended> {
  return run(`import * as kcont from ${JSON.stringify(library)};\n${source}`, nodeOptions);
}

/** Runs a module that imports the library when it calls `load()`. */
export function runLate(source: string): Promise<Ended> {
  return run(`const load = () => import(${JSON.stringify(library)});\n${source}`);
}

function run(module: string, nodeOptions: readonly string[] = []): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [...nodeOptions, '--input-type=module', '--expose-gc', '--eval', module],
      { timeout: 60_000 },
      (_, stdout, stderr) =>
        resolve({
          code: child.exitCode ?? -1,
          out: stdout.split('\n').filter((line) => line !== ''),
          err: stderr,
        }),
    );
  });
}

// Runs the command `kcont`, and programs that it looks into.

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const ending = import.meta.url.slice(-3);
const library = new URL(`../../lib/index${ending}`, import.meta.url).href;
const observing = new URL(`../../lib/observe/index${ending}`, import.meta.url).href;
export const COMMAND: string = fileURLToPath(
  new URL(`../../lib/observe/cli/main${ending}`, import.meta.url),
);

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `kcont` with sockets in a folder, until it ends. */
export function kcont(sockets: string, ...args: readonly string[]): Promise<Said> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [COMMAND, ...args],
      { timeout: 60_000, maxBuffer: 2 ** 28, env: { ...process.env, KCONT_SOCKETS: sockets } },
      (_, out, err) => resolve({ code: child.exitCode ?? -1, out, err }),
    );
  });
}

/** Starts a program that has a socket, and waits until it prints `ready`. */
export async function startProgram(
  sockets: string,
  source: string,
): Promise<ChildProcess & { readonly pid: number }> {
  const program = `
    import { Kcont, Kernel, Mutex, Scope, wq, kernel } from ${JSON.stringify(library)};
    import { observe } from ${JSON.stringify(observing)};
    ${source}
    console.log('ready');
    process.stdin.resume();
  `;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    env: { ...process.env, KCONT_SOCKETS: sockets },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  for await (const chunk of child.stdout) {
    text += String(chunk);
    if (text.includes('ready\n')) break;
  }
  if (!text.includes('ready\n')) throw new Error(`the program has not started: ${text}`);
  return child as ChildProcess & { readonly pid: number };
}

/** Ends a program that was started, and waits for its end. */
export async function endProgram(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

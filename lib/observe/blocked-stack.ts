/*
 * Reads the stack of the main thread from another thread, through the inspector: the debugger interrupts even
 * a loop that never ends. The main thread is paused for as long as the stack takes to arrive, and then goes on.
 */

import { Session, type Debugger } from 'node:inspector';
import { real } from '../base/host-functions.ts';
import { inLine } from './in-line.ts';

/** How many frames are shown. */
const FRAMES = 12;
/** How long to wait for the stack, in ms. A thread that is not in JavaScript cannot be paused. */
const PATIENCE_MS = 2000;

/**
 * Returns the stack of the main thread.
 *
 * @returns a promise of the frames, one a line; of null if the stack cannot be read
 *
 * @internal
 */
export function stackOfMainThread(): Promise<string | null> {
  const session = new Session();
  return new Promise((resolve) => {
    const end = (stack: string | null): void => {
      real.clearTimeout(timer);
      session.disconnect();
      resolve(stack);
    };
    const timer = real.setTimeout(end, PATIENCE_MS, null);
    try {
      session.connectToMainThread();
    } catch {
      // Node was built without the inspector, or this thread is the main thread.
      end(null);
      return;
    }
    const urls = new Map<string, string>();
    session.on('Debugger.scriptParsed', ({ params }) => urls.set(params.scriptId, params.url));
    session.once('Debugger.paused', ({ params }) => {
      const stack = format(params.callFrames, urls);
      session.post('Debugger.resume', () => end(stack));
    });
    session.post('Debugger.enable', () => session.post('Debugger.pause'));
  });
}

function format(frames: readonly Debugger.CallFrame[], urls: ReadonlyMap<string, string>): string {
  return frames
    .slice(0, FRAMES)
    .map(({ functionName, location: { scriptId, lineNumber, columnNumber = 0 } }) => {
      const where = `${urls.get(scriptId) ?? ''}:${lineNumber + 1}:${columnNumber + 1}`;
      return `    at ${inLine(functionName === '' ? where : `${functionName} (${where})`)}`;
    })
    .join('\n');
}

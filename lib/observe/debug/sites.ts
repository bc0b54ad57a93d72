/*
 * Where in the program a call was made. V8 notes the frames when a stack is captured, and formats them when the
 * property `stack` is first read, which takes ten times as long: sites are formatted only for reports.
 */

import type { Caller } from '../../base/errors.ts';
import { inLine } from '../in-line.ts';

/** How many frames are noted. Some of them can be the library's own. */
const FRAMES = 20;

/**
 * The stack of a call.
 *
 * @internal
 */
export interface Site {
  readonly stack?: unknown;
}

/** The formatted ones. */
const texts = new WeakMap<Site, string | null>();

/**
 * Captures the stack of the call of a function of the library.
 *
 * @param below - the function, which is on the stack
 *
 * @internal
 */
export function captureSite(below: Caller): Site {
  const site: Site = {};
  const { stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = FRAMES;
    Error.captureStackTrace(site, below);
    Error.stackTraceLimit = stackTraceLimit;
  } catch {
    // The program has frozen the class Error.
  }
  return site;
}

/**
 * Formats where a call was made: the file, line and column of the first frame that is neither of kcont nor of Node.
 * Null: not known.
 *
 * @internal
 */
export function siteText(site: Site | undefined): string | null {
  if (site === undefined) return null;
  const known = texts.get(site);
  if (known !== undefined) return known;
  const text = format(site);
  texts.set(site, text);
  return text;
}

/**
 * Formats a site for a sentence: ` at …`; empty if it is not known.
 *
 * @internal
 */
export function atSite(site: Site | undefined, before: string = ' at '): string {
  const text = siteText(site);
  return text === null ? '' : `${before}${text}`;
}

function format(site: Site): string | null {
  const frames = framesOf(site);
  const frame = frames.find((one) => !isOfLibrary(one)) ?? frames[0];
  if (frame === undefined) return null;
  // A frame is `name (place)`, or only the place. V8 guesses the names of functions that have none.
  return inLine(/\((?<place>[^()]+)\)$/.exec(frame)?.groups?.['place'] ?? frame);
}

const direct = new WeakMap<Site, boolean>();

/**
 * Whether the program has called the function of a lock or a continuation itself; false: another part of the
 * library has.
 *
 * @internal
 */
export function isDirect(site: Site): boolean {
  const known = direct.get(site);
  if (known !== undefined) return known;
  const caller = framesOf(site).find((frame) => !isOfLibrary(frame) || !OWN.test(frame));
  const is = caller === undefined || !isOfLibrary(caller);
  direct.set(site, is);
  return is;
}

/**
 * Whether the program has made a call itself.
 *
 * @internal
 */
export function isCall(site: Site): boolean {
  const [frame] = framesOf(site);
  return folders.length > 0 && frame !== undefined && !isOfLibrary(frame);
}

/** The frames between the call of a lock or of a halt and the hook: functions of these names, and without a name. */
const OWN =
  /^(?:\/|(?:async )?(?:\S*\.)?(?:#grantAhead|_tryFor|_enter|_await|enter|tryEnter|hold|holdLock|run|runLocked|hookedRun|runAs|_beginHalt|halt|\[Symbol\.asyncDispose\]|<anonymous>) )/;

/** The frames of a site, except those of Node and V8. */
function framesOf(site: Site): string[] {
  let stack: unknown;
  try {
    ({ stack } = site);
  } catch {
    // `Error.prepareStackTrace` of the program has thrown.
    return [];
  }
  if (typeof stack !== 'string') return [];
  return stack
    .split('\n')
    .flatMap((line) => /^\s+at (?<frame>.+)$/.exec(line)?.groups?.['frame'] ?? [])
    .filter((frame) => !/(?:^|\()node:|\(<anonymous>\)$/.test(frame))
    .map((frame) => frame.replace('file://', ''));
}

/** The paths of the folders of the library, as stack frames show them. */
let folders: readonly string[] = [];

function isOfLibrary(frame: string): boolean {
  return folders.some((folder) => frame.includes(folder));
}

/**
 * Tells where the code of the library is. This file cannot know it: the build may put it into any chunk.
 *
 * @param entryUrl - the URL of the file observe/index
 *
 * @internal
 */
export function locateLibrary(entryUrl: string): void {
  folders = foldersOf(entryUrl);
}

/**
 * The folders with the code of the library. The frames have paths in lib/ if they are mapped to the sources. None: the
 * program has been bundled with the library.
 */
function foldersOf(url: string): string[] {
  const path = url.replace('file://', '');
  const { root } = /^(?<root>.*\/)lib\/observe\/index\.[jt]s$/.exec(path)?.groups ?? {};
  if (root !== undefined) return [`${root}lib/`, `${root.replace(/build\/$/, '')}lib/`];
  const { pack } = /^(?<pack>.*\/)dist\/observe\/index\.js$/.exec(path)?.groups ?? {};
  return pack === undefined ? [] : [`${pack}dist/`, `${pack}lib/`];
}

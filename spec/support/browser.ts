import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Suite } from 'mocha';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const FOLDERS = ['/usr/bin', '/usr/local/bin', '/snap/bin', '/opt/google/chrome'];

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Where a browser is on this machine; `KCONT_CHROMIUM` says so first. Undefined: there is none. */
export const CHROMIUM: string | undefined = [
  ...[process.env['KCONT_CHROMIUM'] ?? ''].filter(Boolean),
  ...[...(process.env['PATH'] ?? '').split(delimiter), ...FOLDERS].flatMap((folder) =>
    NAMES.map((name) => join(folder, name)),
  ),
].find(isProgram);

/**
 * Leaves out the specs of a suite that needs a browser if there is none, and says how many they are. Called at the
 * start of the suite. They are not pending, because a pending spec counts as a failure.
 */
export function needsBrowser(suite: Suite): void {
  if (CHROMIUM !== undefined) return;
  let count = 0;
  suite.addTest = () => {
    count++;
    return suite;
  };
  queueMicrotask(() => {
    console.log(`SKIPPED: ${count} specs of “${suite.title}” need chromium: install it`);
  });
}

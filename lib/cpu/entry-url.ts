/**
 * The URL of the file that a CPU's thread runs: entry.ts or entry.js, in the folder of this file and
 * with its extension. Both files are beside index.ts, because the bundle puts this code there.
 */
export const ENTRY_URL: URL = new URL(
  import.meta.url.endsWith('.ts') ? './entry.ts' : './entry.js',
  import.meta.url,
);

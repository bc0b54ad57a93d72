/**
 * The file a CPU's thread begins with: this one's neighbour, with the same ending. Both stand beside
 * index.ts, for that is where the bundle of the package puts this.
 */
export const ENTRY_URL: URL = new URL(
  import.meta.url.endsWith('.ts') ? './entry.ts' : './entry.js',
  import.meta.url,
);

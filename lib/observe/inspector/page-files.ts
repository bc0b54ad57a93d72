import { readFileSync } from 'node:fs';

/**
 * A file of the page.
 *
 * @internal
 */
export interface PageFile {
  readonly type: string;
  readonly body: Buffer;
}

const TYPES: Readonly<Record<string, string>> = {
  'index.html': 'text/html; charset=utf-8',
  'style.css': 'text/css; charset=utf-8',
  'views.css': 'text/css; charset=utf-8',
  'main.js': 'text/javascript; charset=utf-8',
};

/**
 * Reads the files of the page, which are beside this one, by the path of a request.
 *
 * @internal
 */
export function readPage(): ReadonlyMap<string, PageFile> {
  const files = new Map<string, PageFile>();
  for (const [name, type] of Object.entries(TYPES)) {
    const body = readFileSync(new URL(`./page/${name}`, import.meta.url));
    files.set(name === 'index.html' ? '/' : `/${name}`, { type, body });
  }
  return files;
}

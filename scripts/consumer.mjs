// An empty project outside this repository with the packed tarball installed: what a user gets,
// with no node_modules of ours in any folder above it.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** This package's package.json. Scripts are run by npm, so from the repository's root. */
export const pkg = JSON.parse(readFileSync('package.json', 'utf8'));

/** What some entry points need beside this package, in the version used here, as npm is told. */
export const peers = Object.keys(pkg.peerDependencies ?? {}).map(
  (name) => `${name}@${pkg.devDependencies[name]}`,
);

/**
 * Runs npm and returns what it printed; a failure throws with npm's own words on stderr.
 *
 * @param {string[]} args
 * @param {string} cwd
 * @returns {string}
 */
export function npm(args, cwd) {
  const [command, ...first] =
    process.env['npm_execpath'] === undefined
      ? ['npm']
      : [process.execPath, process.env['npm_execpath']];
  return execFileSync(command ?? 'npm', [...first, ...args], {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/**
 * Packs this package (which builds it), installs it into a new project, and calls `use` with the
 * project's folder. The folder is removed afterwards.
 *
 * @param {string[]} dependencies what else to install, as npm is told
 * @param {(folder: string) => void | Promise<void>} use
 */
export async function withConsumer(dependencies, use) {
  const folder = mkdtempSync(join(tmpdir(), `${pkg.name}-consumer-`));
  try {
    npm(['pack', '--silent', '--pack-destination', folder], '.');
    writeFileSync(join(folder, 'package.json'), '{ "name": "consumer", "private": true }\n');
    const tarball = `./${pkg.name}-${pkg.version}.tgz`;
    npm(['install', '--silent', '--no-save', '--prefer-offline', tarball, ...dependencies], folder);
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// Makes dist/ from lib/: declarations, a file each, and the code bundled by entry point.
//
// Importing the core would otherwise read some thirty files. What several entry points need is in
// chunks that they share, so that there is one core whichever of them comes first. Nothing is
// minified, and the source maps lead to lib/, which is packed too.

import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { build } from 'esbuild-wasm';
import { pkg } from './consumer.mjs';

const OUT = 'dist';

rmSync(OUT, { recursive: true, force: true });
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
  stdio: 'inherit',
});

/** @type {string[]} */
const entryPoints = Object.values(pkg.exports)
  .filter((target) => typeof target === 'object')
  .map(({ default: file }) => file.replace('./dist/', 'lib/').replace(/js$/, 'ts'));
// What a worker thread begins with is a file of its own, found beside that which starts it.
entryPoints.push('lib/cpu/entry.ts', 'lib/observe/watch-entry.ts');
// The command.
entryPoints.push('lib/observe/cli/main.ts');
for (const file of entryPoints) if (!existsSync(file)) throw new Error(`there is no ${file}`);

await build({
  entryPoints,
  outbase: 'lib',
  outdir: OUT,
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  packages: 'external',
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
});

// A class that names itself is bundled as `var X = class _X {`, and would be called _X in traces, in errors
// and by `constructor.name`. It gets its own name back, with a space in front: lines and columns stay
// where the source map has them.
const bundled = /^var (\w+) = class _\1(?: extends \w+)? \{$/gm;
for (const file of readdirSync(OUT, { recursive: true, encoding: 'utf8' })) {
  if (!file.endsWith('.js')) continue;
  const path = join(OUT, file);
  let code = readFileSync(path, 'utf8');
  for (const [, name] of code.matchAll(bundled)) {
    code = code.replaceAll(new RegExp(`\\b_${name}\\b`, 'g'), ` ${name}`);
  }
  writeFileSync(path, code);
}

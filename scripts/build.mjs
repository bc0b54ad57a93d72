// Makes dist/ from lib/: declarations, a file each, and the code bundled by entry point.
//
// Importing the core would otherwise read some forty files, and reading a file costs as much as
// compiling 50 kB. What `kcont` exports is one chunk; what several of the other entry points need is in
// chunks that they share. So there is one core, whichever of them comes first. Nothing is minified, and the
// source maps lead to lib/, which is packed too.

import { existsSync, rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { build } from 'rolldown';
import { pkg } from './consumer.mjs';
import { buildPage } from './page.mjs';

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
  input: Object.fromEntries(
    entryPoints.map((file) => [file.slice('lib/'.length, -'.ts'.length), file]),
  ),
  platform: 'node',
  external: /^[^./]/,
  transform: { target: 'node20.19' },
  output: {
    dir: OUT,
    format: 'esm',
    chunkFileNames: 'chunks/[name].js',
    sourcemap: true,
    sourcemapExcludeSources: true,
    comments: { jsdoc: false, annotation: true, legal: false },
    codeSplitting: {
      groups: [
        { name: 'core', test: /\/lib\/(core\/kernel|locks\/.*|time\/virtual-clock|kern)\.ts$/ },
        { name: 'threads', test: /\/lib\/cpu\//, minShareCount: 2 },
      ],
    },
  },
});
await buildPage(OUT);

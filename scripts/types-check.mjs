// Compiles the consumers of spec/types against the packed package, with old and new TypeScript.

import { execFile } from 'node:child_process';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { peers, withConsumer } from './consumer.mjs';

/** Installed under an alias each, beside one another. */
const COMPILERS = ['5.4', '5.9', '7.0'];

/**
 * `refused`: what compilers that cannot do this say, and which they are.
 *
 * @type {{ name: string, files: string[], options: object, refused?: { by: string[], code: string } }[]}
 */
const CONSUMERS = [
  {
    name: 'ES module',
    files: [
      'esm.mts',
      'compat.mts',
      'using.mts',
      'pipeline.mts',
      'cpu.mts',
      'durable.mts',
      'services.mts',
    ],
    options: { exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
  },
  {
    // With the DOM, `typeof setTimeout` takes code as a string too.
    name: 'ES module, without the DOM',
    files: ['timers.mts'],
    options: { lib: ['es2022', 'esnext.disposable'] },
  },
  {
    name: 'ES module, without @types/node',
    files: ['esm.mts', 'compat.mts'],
    options: { types: [], lib: ['es2022', 'dom', 'esnext.disposable'] },
  },
  {
    name: 'ES module, for a bundler',
    files: ['esm.mts'],
    options: { module: 'esnext', moduleResolution: 'bundler' },
  },
  {
    name: 'CommonJS, require()',
    files: ['cjs.cts'],
    options: {},
    refused: { by: ['5.4'], code: 'TS1479' },
  },
  { name: 'CommonJS, import()', files: ['cjs-import.cts'], options: {} },
];

/**
 * Compiles the project in a folder: whether it passed, and what the compiler said.
 *
 * @param {string} version
 * @param {string} folder
 * @returns {Promise<{ version: string, passed: boolean, said: string }>}
 */
function compile(version, folder) {
  const tsc = join('node_modules', `typescript-${version}`, 'bin/tsc');
  return new Promise((resolve) => {
    execFile(process.execPath, [tsc, '--pretty', 'false'], { cwd: folder }, (error, stdout) => {
      resolve({ version, passed: error === null, said: stdout });
    });
  });
}

const packages = COMPILERS.map((version) => `typescript-${version}@npm:typescript@~${version}.0`);
await withConsumer(['@types/node@20', ...peers, ...packages], async (folder) => {
  cpSync('spec/types', folder, { recursive: true });
  for (const { name, files, options, refused } of CONSUMERS) {
    const tsconfig = {
      compilerOptions: {
        module: 'nodenext',
        target: 'es2022',
        types: ['node'],
        strict: true,
        skipLibCheck: false,
        noEmit: true,
        ...options,
      },
      files,
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
    const results = await Promise.all(COMPILERS.map((version) => compile(version, folder)));
    for (const { version, passed, said } of results) {
      const expected = refused?.by.includes(version) ? refused.code : undefined;
      const ok = expected === undefined ? passed : said.includes(`error ${expected}:`);
      const note = expected === undefined ? '' : `, refused with ${expected} as known`;
      console.log(`${ok ? 'ok    ' : 'FAILED'} TypeScript ${version}: ${name}${note}`);
      if (ok) continue;
      console.log(said);
      process.exitCode = 1;
    }
  }
});

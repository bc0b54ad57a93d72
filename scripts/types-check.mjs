// Compiles the consumers of spec/types against the packed package, with old and new TypeScript.

import { spawnSync } from 'node:child_process';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { withConsumer } from './consumer.mjs';

/** Installed under an alias each, beside one another. */
const COMPILERS = ['5.4', '5.9', '7.0'];

/**
 * `refused`: what compilers that cannot do this say, and which they are.
 *
 * @type {{ name: string, file: string, options: object, refused?: { by: string[], code: string } }[]}
 */
const CONSUMERS = [
  {
    name: 'ES module',
    file: 'esm.mts',
    options: { exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
  },
  {
    name: 'ES module, without @types/node',
    file: 'esm.mts',
    options: { types: [], lib: ['es2022', 'dom', 'esnext.disposable'] },
  },
  {
    name: 'ES module, for a bundler',
    file: 'esm.mts',
    options: { module: 'esnext', moduleResolution: 'bundler' },
  },
  {
    name: 'CommonJS, require()',
    file: 'cjs.cts',
    options: {},
    refused: { by: ['5.4'], code: 'TS1479' },
  },
  { name: 'CommonJS, import()', file: 'cjs-import.cts', options: {} },
];

const packages = COMPILERS.map((version) => `typescript-${version}@npm:typescript@~${version}.0`);
withConsumer(['@types/node@20', ...packages], (folder) => {
  cpSync('spec/types', folder, { recursive: true });
  for (const { name, file, options, refused } of CONSUMERS) {
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
      files: [file],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
    for (const version of COMPILERS) {
      const { status, stdout } = spawnSync(
        process.execPath,
        [join('node_modules', `typescript-${version}`, 'bin/tsc'), '--pretty', 'false'],
        { cwd: folder, encoding: 'utf8' },
      );
      const expected = refused?.by.includes(version) ? refused.code : undefined;
      const ok = expected === undefined ? status === 0 : stdout.includes(`error ${expected}:`);
      const note = expected === undefined ? '' : `, refused with ${expected} as known`;
      console.log(`${ok ? 'ok    ' : 'FAILED'} TypeScript ${version}: ${name}${note}`);
      if (ok) continue;
      console.log(stdout);
      process.exitCode = 1;
    }
  }
});

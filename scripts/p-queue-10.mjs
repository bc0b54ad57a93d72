// Runs the compiled specs of kcont/p-queue on p-queue 10 instead of 9: in a temporary copy of what they
// need, where `p-queue` is the other one. p-queue 10 asks for Node 22, so it is no dev dependency.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { npm, pkg } from './consumer.mjs';

const SPECS = ['p-queue/p-queue', 'shutdown'].map((name) => `build/spec/compat/${name}.spec.js`);
const FEWEST = 60;

const needed = ['chai', 'fast-check', 'mocha', 'sinon'].map(
  (name) => `${name}@${pkg.devDependencies[name]}`,
);
const folder = mkdtempSync(join(tmpdir(), 'kcont-p-queue-10-'));
try {
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  npm(['install', '--silent', '--no-save', '--prefer-offline', 'p-queue@10', ...needed], folder);
  for (const part of ['build/lib', 'build/spec/support', ...SPECS]) {
    cpSync(part, join(folder, part), { recursive: true });
  }
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      '--expose-gc',
      resolve(folder, 'node_modules/mocha/bin/mocha.js'),
      '--reporter=json',
      ...SPECS,
    ],
    { cwd: folder, encoding: 'utf8', maxBuffer: 1e8 },
  );
  if (!stdout.startsWith('{')) throw new Error(stdout + stderr);
  const { stats, failures } = JSON.parse(stdout);
  for (const { fullTitle, err } of failures) console.error(`${fullTitle}: ${err.message}`);
  console.log(`p-queue 10: ${stats.passes} passed, ${stats.failures} failed`);
  if (status !== 0 || stats.passes < FEWEST) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

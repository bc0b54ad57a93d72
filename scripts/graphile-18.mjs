// Runs the compiled specs of kcont/durable on graphile-worker 0.18 instead of 0.17: in a temporary copy of what
// they need. 0.18 asks for Node 22.18, so it is no dev dependency; it runs on Node 20.20 too. Needs DATABASE_URL.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { npm, pkg } from './consumer.mjs';

const FEWEST = 50;

if (process.env['DATABASE_URL'] === undefined) {
  console.log('SKIPPED: the specs on graphile-worker 0.18 need a database: set DATABASE_URL');
  process.exit(0);
}
const needed = ['chai', 'fast-check', 'mocha', 'pg'].map(
  (name) => `${name}@${pkg.devDependencies[name]}`,
);
const folder = mkdtempSync(join(tmpdir(), 'kcont-graphile-18-'));
try {
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  npm(
    ['install', '--silent', '--no-save', '--prefer-offline', 'graphile-worker@0.18', ...needed],
    folder,
  );
  const specs = ['graphile', 'cron'].map((name) => `build/spec/durable/${name}.spec.js`);
  for (const part of ['build/lib', 'build/spec/support', 'build/spec/durable']) {
    cpSync(part, join(folder, part), { recursive: true });
  }
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [resolve(folder, 'node_modules/mocha/bin/mocha.js'), '--reporter=json', '--exit', ...specs],
    { cwd: folder, encoding: 'utf8', maxBuffer: 1e8 },
  );
  if (!stdout.includes('{')) throw new Error(stdout + stderr);
  const { stats, failures } = JSON.parse(stdout.slice(stdout.indexOf('{\n')));
  for (const { fullTitle, err } of failures) console.error(`${fullTitle}: ${err.message}`);
  console.log(`graphile-worker 0.18: ${stats.passes} passed, ${stats.failures} failed`);
  if (status !== 0 || stats.passes < FEWEST) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

// Runs the compiled specs under c8 and holds every folder to its limit: the core and below to 100 % of
// lines and branches, all of lib to 95 %. What is given on the command line is
// that of scripts/specs.mjs.

import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { mochaCall } from './specs.mjs';

/** The folders that depend on the core; everything else in lib counts as the core. */
const DEPENDENT = new Set([
  'compat',
  'pipeline',
  'cpu',
  'retry',
  'periodic',
  'limits',
  'observe',
  'durable',
]);
const CORE_PERCENT = 100;
const LIB_PERCENT = 95;

/** @typedef {{ lines: { total: number, covered: number }, branches: { total: number, covered: number } }} Counts */

/** A file of types alone compiles to nothing that could be run, and c8 would count it as missed. */
const typesOnly = readdirSync('build/lib', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.js'))
  .filter((file) => {
    const code = readFileSync(join('build/lib', file), 'utf8').replace(/^\/\/# source.*$/m, '');
    return /^(?:\s|\/\*[^]*?\*\/|\/\/.*)*export \{\};\s*$/.test(code);
  })
  .map((file) => join('lib', file.replace(/\.js$/, '.ts')));

/** What only specs with a database run. */
const skipped = process.env['DATABASE_URL'] === undefined ? ['lib/durable/graphile/**'] : [];
for (const files of skipped) console.log(`SKIPPED ${files}: set DATABASE_URL to cover it`);

/** What runs in a browser; spec/observe/inspector/browser.spec.ts does that. */
const inBrowser = [
  'connection',
  'details',
  'dom',
  'main',
  'overview',
  'table',
  'timeline',
  'virtual-table',
].map((name) => `lib/observe/inspector/page/${name}.ts`);

rmSync('coverage', { recursive: true, force: true });
const { status } = spawnSync(
  process.execPath,
  [
    'node_modules/c8/bin/c8.js',
    ...[...typesOnly, ...skipped, ...inBrowser].flatMap((file) => ['--exclude', file]),
    ...mochaCall(process.argv.slice(2)).args,
  ],
  { stdio: 'inherit' },
);
if (status !== 0) process.exitCode = status ?? 1;

/** @type {Record<string, Counts>} */
const summary = JSON.parse(readFileSync('coverage/coverage-summary.json', 'utf8'));
const files = Object.entries(summary)
  .filter(([file]) => file !== 'total')
  .map(([file, counts]) => ({ path: relative(process.cwd(), file), counts }));
const core = files.filter(({ path }) => !DEPENDENT.has(path.split(sep)[1] ?? ''));

/**
 * @param {string} name
 * @param {typeof files} held
 * @param {number} limit
 */
function hold(name, held, limit) {
  for (const kind of /** @type {const} */ (['lines', 'branches'])) {
    const total = held.reduce((sum, { counts }) => sum + counts[kind].total, 0);
    const covered = held.reduce((sum, { counts }) => sum + counts[kind].covered, 0);
    const enough = covered * 100 >= total * limit;
    console.log(
      `${enough ? 'ok    ' : 'FAILED'} ${name}: ${covered} of ${total} ${kind}, limit ${limit} %`,
    );
    if (enough) continue;
    process.exitCode = 1;
    for (const { path, counts } of held) {
      const missed = counts[kind].total - counts[kind].covered;
      if (missed > 0) console.log(`         ${path}: ${missed} ${kind} missed`);
    }
  }
}

hold('core', core, CORE_PERCENT);
hold('lib', files, LIB_PERCENT);

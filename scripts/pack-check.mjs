// Loads every entry point of the packed package from an empty project, by import() and by
// require(), and looks through the files that were packed.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { peers, pkg, withConsumer } from './consumer.mjs';

/** Run inside the consumer: prints the names that import() gives, having compared require()'s. */
const load = `
  const { createRequire } = require('node:module');
  const assert = require('node:assert/strict');
  const id = process.argv[1];
  const required = require(id);
  import(id).then((imported) => {
    const names = Object.keys(imported);
    assert.ok(names.length > 0, id + ' exports nothing');
    assert.deepEqual(Object.keys(required).filter((name) => name !== '__esModule'), names);
    for (const name of names) {
      assert.equal(required[name], imported[name], id + ' is loaded twice: ' + name);
      assert.notEqual(imported[name], undefined, name + ' is undefined');
      // Bundling must not rename what people read in traces; an alias has the name of the other.
      const own = imported[name].name;
      if (typeof imported[name] === 'function' && imported[own] !== imported[name]) {
        assert.equal(own, name);
      }
    }
    console.log(id + ': ' + names.length + ' exports, the same by import and by require');
  });
`;

/** Whatever is loaded first, there is one core. */
const oneCore = `
  const assert = require('node:assert/strict');
  const { kern, kernel } = require('kcont');
  assert.equal(require('kcont/kern').kcont_create, kern.kcont_create);
  require('kcont/timers').setTimeout(() => undefined, 1e6).unref();
  assert.equal(kernel.inspect().pending, 1);
  const timers = require('kcont/timers');
  assert.equal(timers.setTimeout(() => undefined, 1e6).unref().constructor.name, 'Timeout');
  assert.equal(timers.setImmediate(() => undefined).constructor.name, 'Immediate');
`;

/** Worker threads find their own file, and there is one core in each; CommonJS callers too. */
const cpus = `
  const assert = require('node:assert/strict');
  const { kernel, wq } = require('kcont');
  require('kcont/cpu');
  const work = require('./work.cjs');
  const module = require.resolve('./work.cjs');
  kernel.startCpus({ module, count: 1 }).then(async (functions) => {
    assert.equal(functions.where, work.where);
    assert.equal(await wq.prilow.run(work.where), 1);
    assert.equal(await wq.prilow.run(work.twice, { arg: 21 }), 42);
    console.log('kcont/cpu: runs functions of a CommonJS module on another thread');
  });
`;
const work = `
  const { curcpu } = require('kcont');
  exports.where = () => curcpu().index;
  exports.twice = (n) => 2 * n;
`;

/** Debug mode tells the program's own calls from those of the library. The places are those of this program. */
const debug = `
import assert from 'node:assert/strict';
import { Kcont, kernel, Mutex, wq } from 'kcont';
import { observe } from 'kcont/observe';
const found = [];
const pause = (delayMs) => wq.prilow.run(() => {}, { delayMs });
observe({ onFinding: ({ kind, message, site }) => found.push([kind, message, site]) });
const lock = new Mutex({ name: 'journal' });
await lock.enter();
const waiting = lock.enter();
await pause(1500);
lock.exit();
await waiting;
lock.exit();
new Kcont(wq.prilow, lock, () => pause(100), null, { name: 'owner' }).schedule();
await pause(10);
// It enters again, because the run of the owner ends with an exit.
const thief = () => {
  lock.exit();
  lock.tryEnter();
};
new Kcont(wq.prilow, null, thief, null, { name: 'thief' }).schedule();
await pause(200);
assert.deepEqual(found.map(([kind]) => kind), ['wait', 'exit']);
for (const [, message, site] of found) assert.match(message + site, /debug\\.mjs:\\d+:\\d+$/);
for (const [, message] of found) assert.doesNotMatch(message, /node_modules/);
console.log('kcont/observe: debug mode names places in the program');
`;

/**
 * Links of a page to files that are not packed.
 *
 * @param {string} home
 * @param {string} page
 */
function deadLinks(home, page) {
  const text = readFileSync(join(home, page), 'utf8').replace(/^```[^]*?^```$/gm, '');
  return [...text.matchAll(/\]\((?<to>[^)#\s]+)(?:#[^)]*)?\)/g)]
    .map(({ groups }) => groups?.['to'] ?? '')
    .filter((to) => !/^[a-z]+:/.test(to) && !existsSync(join(home, dirname(page), to)))
    .map((to) => `${page} links to ${to}, which is not packed`);
}

await withConsumer(peers, (folder) => {
  for (const [subpath, target] of Object.entries(pkg.exports)) {
    if (!target.default) continue;
    const id = pkg.name + subpath.slice(1);
    execFileSync(process.execPath, ['--throw-deprecation', '-e', load, id], {
      cwd: folder,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  }

  execFileSync(process.execPath, ['-e', oneCore], { cwd: folder, stdio: 'inherit' });
  writeFileSync(join(folder, 'work.cjs'), work);
  execFileSync(process.execPath, ['-e', cpus], { cwd: folder, stdio: 'inherit' });

  writeFileSync(join(folder, 'debug.mjs'), debug);
  execFileSync(process.execPath, ['debug.mjs'], { cwd: folder, stdio: 'inherit' });

  // The command, as npm installs it.
  const windows = process.platform === 'win32';
  const command = join(folder, 'node_modules/.bin', windows ? 'kcont.cmd' : 'kcont');
  const usage = execFileSync(command, ['--help'], { encoding: 'utf8', shell: windows });
  if (!usage.startsWith('usage:')) throw new Error(`kcont --help printed ${usage}`);
  console.log('kcont: the command runs');

  const home = join(folder, 'node_modules', pkg.name);
  const files = readdirSync(home, { recursive: true, encoding: 'utf8' });
  const problems = ['LICENSE', 'README.md', 'CHANGELOG.md']
    .filter((name) => !files.includes(name))
    .map((name) => `${name} is missing`);
  for (const file of files) {
    if (/\.(?:spec|test)\.|^(?:spec|scripts|build)\b/.test(file)) {
      problems.push(`${file} does not belong in the package`);
    }
    // The pages are read there too: by people without a network, and by tools.
    if (file.endsWith('.md')) problems.push(...deadLinks(home, file));
    // A debugger and an editor's go-to-definition land in lib/, which is packed for them.
    if (file.endsWith('.map')) {
      const { sources } = JSON.parse(readFileSync(join(home, file), 'utf8'));
      for (const source of sources) {
        if (!existsSync(join(home, dirname(file), source))) {
          problems.push(`${file} points to ${source}, which is not packed`);
        }
      }
    }
  }
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  else {
    console.log(
      `${files.length} files packed; every source map and every link leads to a packed file`,
    );
  }
});

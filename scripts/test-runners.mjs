// Runs spec/runners under mocha, node:test, vitest and jest, with and without kcont/timers/register,
// in a project outside this repository. Both times the same tests have to pass and to fail, and the
// runner has to end with the same code.

import { execFile } from 'node:child_process';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { npm, pkg, withConsumer } from './consumer.mjs';

/** The newest that run on the oldest Node that is supported. */
const RUNNERS = [
  `mocha@${pkg.devDependencies.mocha}`,
  `sinon@${pkg.devDependencies.sinon}`,
  'vitest@^3.2.4',
  'jest@^30.2.0',
];

const REGISTER = '--import=kcont/timers/register';
/** How long a runner may take that hangs, in ms. */
const LIMIT_MS = 180_000;
/** The one test that fails, and where node:test has it. */
const FAILS = /fails, on purpose$|without mocks$/;

/**
 * What a runner says, as lines `passed NAME` and `failed NAME`.
 *
 * @typedef {object} Runner
 * @property {string} name
 * @property {string[]} command - what Node is given
 * @property {string} [options] - of Node, for the runner's processes too
 * @property {(out: string) => string[]} results
 */

/** @type {Runner[]} */
const runners = [
  {
    name: 'mocha',
    command: ['node_modules/mocha/bin/mocha.js', '--reporter', 'json', 'mocha.mjs'],
    results: (out) => {
      const { passes, failures } = JSON.parse(out);
      return [...named('passed', passes, 'fullTitle'), ...named('failed', failures, 'fullTitle')];
    },
  },
  {
    name: 'node:test',
    command: ['--test', '--test-reporter', 'tap', 'node.mjs'],
    results: (out) =>
      [...out.matchAll(/^ +(?<not>not )?ok \d+ - (?<name>.*)$/gm)].map(
        ({ groups }) =>
          `${groups?.['not'] === undefined ? 'passed' : 'failed'} ${groups?.['name']}`,
      ),
  },
  {
    name: 'vitest',
    command: ['node_modules/vitest/vitest.mjs', 'run', '--reporter=json'],
    results: fromJest,
  },
  {
    name: 'jest',
    command: ['node_modules/jest/bin/jest.js', '--json'],
    options: '--experimental-vm-modules',
    results: fromJest,
  },
];

/**
 * @param {string} verdict
 * @param {Record<string, string>[]} tests
 * @param {string} key
 * @returns {string[]}
 */
function named(verdict, tests, key) {
  return tests.map((test) => `${verdict} ${test[key]}`);
}

/**
 * vitest and jest report in the same form.
 *
 * @param {string} out
 * @returns {string[]}
 */
function fromJest(out) {
  const { testResults } = JSON.parse(out.slice(out.indexOf('{"')));
  return testResults.flatMap((/** @type {{ assertionResults: any[] }} */ { assertionResults }) =>
    assertionResults.map(({ status, fullName }) => `${status} ${fullName}`),
  );
}

/**
 * @param {Runner} runner
 * @param {string} folder
 * @param {string} flag - of Node
 * @returns {Promise<{ code: string | number, results: string[], said: string }>}
 */
function run({ command, options = '', results }, folder, flag) {
  /** @type {NodeJS.ProcessEnv} */
  const env = { ...process.env, NODE_OPTIONS: `--no-warnings ${options} ${flag}`, NO_COLOR: '1' };
  // A child of a test runner is no test file of it.
  delete env['NODE_TEST_CONTEXT'];
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      command,
      { cwd: folder, env, timeout: LIMIT_MS, killSignal: 'SIGKILL', maxBuffer: 2 ** 26 },
      (_, out, err) => {
        const code = child.exitCode ?? `ended after ${LIMIT_MS} ms by ${child.signalCode}`;
        /** @type {string[]} */
        let found = [];
        try {
          found = results(out).toSorted();
        } catch {
          // It has not come to its report.
        }
        resolve({ code, results: found, said: out + err });
      },
    );
    child.stdin?.end();
  });
}

/**
 * Whether the registry of npm answers at all.
 *
 * @returns {boolean}
 */
function isRegistryThere() {
  try {
    npm(['view', 'vitest@^3.2.4', 'version', '--silent', '--fetch-retries=1'], '.');
    return true;
  } catch {
    return false;
  }
}

let bad = 0;

/**
 * @param {string} folder
 */
async function compare(folder) {
  cpSync('spec/runners', folder, { recursive: true });
  const jest = { testMatch: ['**/*jest.test.mjs'], transform: {}, watchman: false };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, jest }));
  writeFileSync(
    join(folder, 'vitest.config.mjs'),
    `export default { test: { include: ['*vitest.test.mjs'] } };`,
  );
  for (const runner of runners) {
    const without = await run(runner, folder, '');
    const withIt = await run(runner, folder, REGISTER);
    const failed = without.results.filter((line) => line.startsWith('failed'));
    const passed = without.results.length - failed.length;
    const isAsMeant = passed > 0 && failed.every((line) => FAILS.test(line));
    const isSame =
      without.code === withIt.code && without.results.join('\n') === withIt.results.join('\n');
    if (isAsMeant && failed.length > 0 && isSame) {
      console.log(`${runner.name}: ${passed} passed, as with kcont/timers/register`);
      continue;
    }
    bad++;
    console.error(`${runner.name}: not the same, or not as meant`);
    for (const [title, { code, results, said }] of Object.entries({ without, with: withIt })) {
      console.error(`--- ${title} kcont/timers/register: code ${code}\n${results.join('\n')}`);
      if (results.length === 0 || !isAsMeant) console.error(said);
    }
  }
}

if (isRegistryThere()) {
  await withConsumer(RUNNERS, compare);
  if (bad > 0) process.exit(1);
} else {
  console.error(
    '\nSKIPPED: the registry of npm cannot be reached, so there is no vitest and no jest\n',
  );
}

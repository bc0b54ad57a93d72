// Runs the compiled specs with mocha.
//
//   node scripts/specs.mjs            all but the long ones, in under three minutes
//   node scripts/specs.mjs --long     *.long.spec, and random programs in larger numbers
//   node scripts/specs.mjs NAME…      some: `time/timing-wheel`, or `cpu/**/*` for a folder
//
// What begins with a dash, and all behind it, is mocha's: `-g WORDS`.

import { spawnSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';

/** These come last: AsyncLocalStorage, once used, makes Node 20 follow every promise. */
const FAST = ['!(compat|pipeline|observe)/**/*', '{pipeline,compat,observe}/**/*'];
/** Those whose random programs are played `KCONT_SOAK` times as often. */
const LONG = ['**/*.long', 'library/model', 'library/handle-walk'];
const SOAK = '4';

/**
 * What mocha is called with, and in which environment.
 *
 * @param {readonly string[]} args the arguments of this script
 * @returns {{ args: string[], env: NodeJS.ProcessEnv }}
 */
export function mochaCall(args) {
  const long = args[0] === '--long';
  const given = long ? args.slice(1) : args;
  const dash = given.findIndex((arg) => arg.startsWith('-'));
  const names = dash === -1 ? given : given.slice(0, dash);
  const chosen = names.length > 0 ? names : long ? LONG : FAST;
  return {
    args: [
      'node_modules/mocha/bin/mocha.js',
      ...chosen.map((name) => `build/spec/${name}.spec.js`),
      ...(long || names.length > 0 ? [] : ['--ignore', 'build/spec/**/*.long.spec.js']),
      ...(dash === -1 ? [] : given.slice(dash)),
    ],
    env: long ? { KCONT_SOAK: SOAK, ...process.env } : process.env,
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { args, env } = mochaCall(process.argv.slice(2));
  process.exitCode = spawnSync(process.execPath, args, { stdio: 'inherit', env }).status ?? 1;
}

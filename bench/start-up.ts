// How long an import takes in a fresh process, and how large a bundle is.

import { execFileSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild-wasm';
import { costs, type Bench, type Case, type Side } from './harness/bench.ts';
import { judge } from './harness/runner.ts';
import { expectTrue } from './harness/timed.ts';

/** By its own name: what is shipped. */
const library = 'kcont';
const P_QUEUE = 'p-queue';
const ASYNC_MUTEX = 'async-mutex';
const BYTES_PER_KB = 1000;
/** "A few kB". */
const FEW_KB = 10;

/** The time of `await import(…)` in a process that has done nothing else, as a stopwatch has it. */
function imported(role: Side['role'], name: string, specifier: string): Side {
  const script = `
    const begin = performance.now();
    const cpu = process.cpuUsage();
    const names = Object.keys(await import(${JSON.stringify(specifier)}));
    const { user, system } = process.cpuUsage(cpu);
    const ms = Math.min(performance.now() - begin, (user + system) / 1000);
    process.stdout.write(JSON.stringify({ ms, names }));
  `;
  function sample(): readonly number[] {
    const out = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
      encoding: 'utf8',
    });
    const { ms, names } = JSON.parse(out) as { ms: number; names: string[] };
    expectTrue(`${name} exports something`, names.length > 0 || role === 'floor');
    return [ms];
  }
  return { role, name, warm: () => void sample(), sample };
}

const importing: Case = {
  name: 'import in a fresh process',
  metrics: costs('ms', { against: P_QUEUE, atMost: 1 }),
  sides: () => [
    imported('kcont', 'kcont', library),
    imported('peer', P_QUEUE, P_QUEUE),
    imported('peer', ASYNC_MUTEX, ASYNC_MUTEX),
    imported('floor', 'an empty module', 'data:text/javascript,'),
  ],
};

/** A bundle of these lines, minified and gzipped. */
function bundled(role: Side['role'], name: string, contents: string): Side {
  return {
    role,
    name,
    async sample() {
      const { outputFiles } = await build({
        stdin: { contents, resolveDir: process.cwd() },
        bundle: true,
        minify: true,
        write: false,
        format: 'esm',
        platform: 'node',
        target: 'node20',
        logLevel: 'error',
      });
      const bytes = gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length;
      expectTrue(`${name} has a bundle`, bytes > 0);
      return [bytes / BYTES_PER_KB];
    },
  };
}

const core = JSON.stringify(library);

const sizes: Case = {
  name: 'bundle, minified and gzipped',
  rounds: 1,
  metrics: costs('kB'),
  compare(_, figures) {
    const kB = figures[0]?.median ?? NaN;
    const share = kB / FEW_KB;
    return [
      {
        against: `${FEW_KB} kB, for a few`,
        ratio: share,
        q1: share,
        q3: share,
        goal: '<= 1',
        verdict: judge(kB <= FEW_KB, false),
      },
    ];
  },
  sides: () => [
    bundled(
      'kcont',
      'kcont: Kcont, Mutex, wq',
      `import { Kcont, Mutex, wq } from ${core}; console.log(Kcont, Mutex, wq);`,
    ),
    bundled('kcont', 'kcont: all of it', `export * from ${core};`),
    bundled('peer', P_QUEUE, `export { default } from '${P_QUEUE}';`),
    bundled('peer', ASYNC_MUTEX, `export * from '${ASYNC_MUTEX}';`),
  ],
};

export const bench: Bench = {
  name: 'start-up',
  about: 'What it costs to import the library, and to ship it.',
  cases: () => [importing, sizes],
};

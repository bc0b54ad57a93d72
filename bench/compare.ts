// npm run bench:compare -- REV [NAME...] [--case WORDS] [--pairs N] [--quick]
//
// This tree against another revision of lib/, both run by this tree's benches: the other one is
// checked out and compiled in a temporary worktree, then processes of both alternate.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { FULL, QUICK, type Effort, type Result, type Unit } from './harness/bench.ts';
import { runInChild } from './harness/child.ts';
import { describeMachine, inOneLine } from './harness/machine.ts';
import { median, ratio } from './harness/stats.ts';
import { digits, labelOf, titleOf, withUnit } from './harness/table.ts';
import { findBench, names } from './suite.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    case: { type: 'string', default: '' },
    pairs: { type: 'string', default: '7' },
    quick: { type: 'boolean', default: false },
  },
});
const [revision = 'HEAD', ...benches] = positionals;
const pairs = Number(values.pairs);
const effort: Effort = values.quick ? QUICK : { ...FULL, rounds: 3 };

function git(...args: readonly string[]): string {
  return execFileSync('git', args, { encoding: 'utf8' }).trim();
}

/** Where the compiled harness of a tree is. */
const COMPILED = 'temp/bench/bench/harness';

/** A worktree of the other revision with this tree's benches, compiled. Goes with this process. */
function checkOut(commit: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  const tree = join(folder, 'tree');
  process.on('exit', () => {
    rmSync(folder, { recursive: true, force: true });
    git('worktree', 'prune');
  });
  process.on('SIGINT', () => process.exit(130));
  git('worktree', 'add', '--quiet', '--detach', tree, commit);
  for (const path of ['bench', 'tsconfig.json', 'tsconfig.bench.json', 'package.json']) {
    rmSync(join(tree, path), { recursive: true, force: true });
    cpSync(path, join(tree, path), { recursive: true });
  }
  symlinkSync(resolve('node_modules'), join(tree, 'node_modules'));
  try {
    const tsc = resolve('node_modules/typescript/bin/tsc');
    execFileSync(process.execPath, [tsc, '-p', 'tsconfig.bench.json'], { cwd: tree });
  } catch {
    // What it compiled to is there all the same, and may run.
    console.log(`${revision} does not fit these benches in all its types.\n`);
  }
  return join(tree, COMPILED);
}

/** The medians of one side, process by process, of both trees. */
interface Sides {
  readonly title: string;
  readonly unit: Unit;
  readonly isFloor: boolean;
  readonly that: number[];
  readonly this: number[];
}

/** Notes the medians of a process. */
function note(found: Map<string, Sides>, results: readonly Result[], which: 'that' | 'this'): void {
  for (const result of results) {
    const { unit } = result;
    for (const side of result.sides) {
      const title = `${titleOf(result)} | ${labelOf(side)}`;
      const isFloor = side.role === 'floor';
      const sides = found.get(title) ?? { title, unit, isFloor, that: [], this: [] };
      sides[which].push(side.median);
      found.set(title, sides);
    }
  }
}

/** Runs processes of both in turn. */
async function alternate(bench: string, index: number, that: string): Promise<Sides[]> {
  const found = new Map<string, Sides>();
  const request = { bench, index, effort, roles: ['kcont', 'floor'] } as const;
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? (['that', 'this'] as const) : (['this', 'that'] as const);
    for (const which of order) {
      const results = await runInChild(request, which === 'that' ? { harness: that } : {});
      note(found, results, which);
    }
  }
  return [...found.values()];
}

function block({ title, unit, isFloor, that, this: own }: Sides): string {
  const { median: change, q1, q3 } = ratio(own, that);
  const verdict = q3 < 1 ? 'less' : q1 > 1 ? 'MORE' : 'the same, or too little to tell';
  const cells = [
    `${withUnit(median(that), unit)} -> ${withUnit(median(own), unit)}`.padEnd(28),
    `${digits(change)} x  (${digits(q1)} - ${digits(q3)})`.padEnd(26),
    isFloor ? 'the same code: noise' : verdict,
  ];
  return `  ${title}\n      ${cells.join(' ')}`;
}

const commit = git('rev-parse', '--verify', `${revision}^{commit}`);
console.log(`${inOneLine(describeMachine())}\n`);
console.log(`${git('log', '-1', '--format=%h %s', commit)} -> this tree, ${pairs} pairs\n`);
const that = checkOut(commit);
for (const name of benches.length > 0 ? benches : names) {
  const bench = await findBench(name);
  console.log(`${name}\n`);
  for (const [index, { name: title }] of bench.cases(effort).entries()) {
    if (!title.includes(values.case)) continue;
    try {
      for (const sides of await alternate(name, index, that)) console.log(block(sides));
    } catch (error) {
      console.log(`  ${title}: cannot be compared, ${String(error)}`);
    }
    console.log();
  }
}

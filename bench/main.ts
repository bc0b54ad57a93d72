// npm run bench -- [NAME...] [--case WORDS] [--quick] [--rounds N] [--json] [--charts] [--prof]
//
//   NAME         only these benches; by default all
//   --case       only cases whose name contains these words
//   --only ROLE  only kcont, peer or floor; may be given more than once
//   --quick      see that they work: small populations, few rounds; the figures mean nothing
//   --rounds N   at most N rounds
//   --json       results as JSON on stdout, and nothing else
//   --charts     also writes charts and the table to docs/bench/
//   --out DIR    … or to this folder
//   --prof       writes a CPU profile of each case to temp/prof/

import { parseArgs } from 'node:util';
import { FULL, QUICK, type Effort, type Result, type Role } from './harness/bench.ts';
import { runInChild } from './harness/child.ts';
import { describeMachine, inOneLine } from './harness/machine.ts';
import { writeReport, type Chapter } from './harness/report.ts';
import { block, summary, titleOf } from './harness/table.ts';
import { findBench, names } from './suite.ts';

const ROLES: readonly Role[] = ['kcont', 'peer', 'floor'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    case: { type: 'string', default: '' },
    only: { type: 'string', multiple: true },
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    json: { type: 'boolean', default: false },
    charts: { type: 'boolean', default: false },
    out: { type: 'string', default: 'docs/bench' },
    prof: { type: 'boolean', default: false },
  },
});

const usual = values.quick ? QUICK : FULL;
const effort: Effort = { ...usual, rounds: Number(values.rounds ?? usual.rounds) };
const roles =
  values.only === undefined ? ROLES : ROLES.filter((role) => values.only?.includes(role));
const flags = values.prof ? ['--cpu-prof', '--cpu-prof-dir=temp/prof'] : [];
const machine = describeMachine();

function say(...lines: string[]): void {
  if (!values.json) console.log(lines.join('\n'));
}

/** Figures of a hurried run are not worth a table. */
function briefly(result: Result): string[] {
  return [`  works: ${titleOf(result)}, ${result.sides.length} sides`];
}

say(inOneLine(machine), '');
const chapters: Chapter[] = [];
let failed = 0;
for (const name of positionals.length > 0 ? positionals : names) {
  const bench = await findBench(name);
  const results: Result[] = [];
  say(`${bench.name}: ${bench.about}`, '');
  for (const [index, { name: title }] of bench.cases(effort).entries()) {
    if (!title.includes(values.case)) continue;
    try {
      const found = await runInChild({ bench: name, index, effort, roles }, { flags });
      for (const result of found) say(...(values.quick ? briefly(result) : [...block(result), '']));
      results.push(...found);
    } catch (error) {
      failed++;
      console.error(`${title}: FAILED, ${String(error)}\n`);
    }
  }
  if (values.quick) say('');
  chapters.push({ name: bench.name, about: bench.about, machine, results });
}

const all = chapters.flatMap(({ results }) => results);
if (values.json)
  console.log(JSON.stringify({ machine, quick: values.quick, results: all }, null, 2));
else if (!values.quick) say(...summary(all));
if (values.charts) say('', ...writeReport(chapters, names, values.out));
if (failed > 0) process.exitCode = 1;

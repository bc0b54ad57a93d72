// docs/bench/: a chart for each bench, the table, and the figures as JSON. A run of some benches
// replaces theirs and keeps the others'.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { barChart } from './bar-chart.ts';
import type { Comparison, Result } from './bench.ts';
import { lineChart } from './line-chart.ts';
import { inOneLine, type Machine } from './machine.ts';
import { digits, labelOf, titleOf, withUnit } from './table.ts';

/** The results of one bench, and where they were measured. */
export interface Chapter {
  readonly name: string;
  readonly about: string;
  readonly machine: Machine;
  readonly results: readonly Result[];
}

const FIGURES = 'figures.json';

/** Writes the report; returns what was written. `order`: names of benches. */
export function writeReport(
  chapters: readonly Chapter[],
  order: readonly string[],
  folder: string,
): string[] {
  mkdirSync(folder, { recursive: true });
  const kept = readChapters(join(folder, FIGURES)).filter(
    (old) => !chapters.some(({ name }) => name === old.name),
  );
  const all = [...kept, ...chapters].toSorted(
    (a, b) => order.indexOf(a.name) - order.indexOf(b.name),
  );
  const files: [string, string][] = [
    [FIGURES, `${JSON.stringify(all, withoutSamples, 1)}\n`],
    ['README.md', markdown(all)],
    ...chapters.map(({ name, about, machine, results }): [string, string] => {
      const hasCurve = results.some(({ sides }) => sides.some(({ at }) => at !== undefined));
      const draw = hasCurve ? lineChart : barChart;
      return [`${name}.svg`, draw(name, about, results, inOneLine(machine))];
    }),
  ];
  return files.map(([file, content]) => {
    writeFileSync(join(folder, file), content);
    return `wrote ${join(folder, file)}`;
  });
}

function readChapters(file: string): Chapter[] {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Chapter[]) : [];
}

/** Five digits are more than a median has. */
function withoutSamples(key: string, value: unknown): unknown {
  if (key === 'samples') return undefined;
  return typeof value === 'number' ? Number(value.toPrecision(5)) : value;
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function times({ ratio, q1, q3 }: Comparison): string {
  return `${digits(ratio)} × (${digits(q1)}–${digits(q3)})`;
}

function goalInWords(goal: string): string {
  return goal === '' ? '' : `${goal.replace('>=', '≥').replace('<=', '≤')} ×`;
}

/** Every comparison that has a goal. */
function goalTable(chapters: readonly Chapter[]): string[] {
  const lines = chapters.flatMap(({ name, results }) =>
    results.flatMap((result) => {
      const kcont = result.sides.find(({ role }) => role === 'kcont');
      return result.comparisons
        .filter(({ goal }) => goal !== '')
        .map((comparison) => {
          const peer = result.sides.find((side) => labelOf(side) === comparison.against);
          const curve = kcont?.at !== undefined;
          return row([
            `[${name}](#${name})`,
            titleOf(result),
            kcont === undefined || curve ? '' : withUnit(kcont.median, result.unit),
            comparison.against,
            peer === undefined ? '' : withUnit(peer.median, result.unit),
            times(comparison),
            goalInWords(comparison.goal),
            comparison.verdict,
          ]);
        });
    }),
  );
  return [
    row(['bench', 'case', 'kcont', 'against', '', 'ratio (quartiles)', 'goal', '']),
    row(['---', '---', '--:', '---', '--:', '--:', '--:', '---']),
    ...lines,
  ];
}

function chapterInWords({ name, about, machine, results }: Chapter): string[] {
  const lines = results.flatMap((result) =>
    result.sides.map((side, at) => {
      const comparison = result.comparisons.find(({ against }) => against === labelOf(side));
      return row([
        at === 0 ? titleOf(result) : '',
        side.role === 'floor' ? `*floor: ${labelOf(side)}*` : labelOf(side),
        withUnit(side.median, result.unit),
        `${digits(side.q1)}–${digits(side.q3)}`,
        comparison === undefined ? '' : times(comparison),
      ]);
    }),
  );
  return [
    `## ${name}`,
    '',
    about,
    '',
    `![${name}](${name}.svg)`,
    '',
    row(['case', 'side', 'median', 'quartiles', 'ratio (quartiles)']),
    row(['---', '---', '--:', '--:', '--:']),
    ...lines,
    '',
    inOneLine(machine),
    '',
  ];
}

function markdown(chapters: readonly Chapter[]): string {
  const peers = Object.entries(chapters[0]?.machine.peers ?? {})
    .map(([name, version]) => `${name} ${version}`)
    .join(', ');
  return [
    '# Measured',
    '',
    '<!-- Written by `npm run bench -- --charts`. What is changed here by hand is lost. -->',
    '',
    'Both sides run in one process, in alternating rounds; the figures are medians, the ratios',
    'those of the medians, with the quartiles of the ratios round by round. A ratio says how many',
    'times as much the peer costs; where the goal is `≤`, how much kcont costs of what the peer',
    'does. Floors are the least that the work could cost. [How to reproduce](../../bench/README.md).',
    '',
    `Peers: ${peers}.`,
    '',
    '## Goals',
    '',
    ...goalTable(chapters),
    '',
    ...chapters.flatMap(chapterInWords),
  ].join('\n');
}

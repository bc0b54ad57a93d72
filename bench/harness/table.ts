// The report for a terminal: one block per result, a line per side.

import type { Comparison, Figures, Result, Unit } from './bench.ts';

/** Three digits that matter: `4.21`, `38.2`, `1,250`. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  const places = size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  return value.toLocaleString('en-US', {
    minimumFractionDigits: places,
    maximumFractionDigits: places,
  });
}

const BIGGER: Partial<Record<Unit, { readonly from: number; readonly unit: string }>> = {
  ns: { from: 10_000, unit: 'µs' },
  µs: { from: 10_000, unit: 'ms' },
  ms: { from: 10_000, unit: 's' },
};

/** With its unit, or one a thousand times bigger where that reads better. */
export function withUnit(value: number, unit: Unit): string {
  const bigger = BIGGER[unit];
  return bigger !== undefined && value >= bigger.from
    ? `${digits(value / 1000)} ${bigger.unit}`
    : `${digits(value)} ${unit}`;
}

export function times({ ratio, q1, q3 }: Comparison): string {
  return `${digits(ratio)} x  (${digits(q1)} - ${digits(q3)})`;
}

/** A title for a result within its bench. */
export function titleOf(result: Result): string {
  return result.metric === '' ? result.case : `${result.case}: ${result.metric}`;
}

const NAME_WIDTH = 34;
const VALUE_WIDTH = 11;
const SPREAD_WIDTH = 20;
const TIMES_WIDTH = 27;

/** One result, as lines. */
export function block(result: Result): string[] {
  const lines = result.sides.map((side) => {
    const { unit } = result;
    const comparison = result.comparisons.find(({ against }) => against === labelOf(side));
    const cells = [
      `  ${(side.role === 'floor' ? `floor: ${labelOf(side)}` : labelOf(side)).padEnd(NAME_WIDTH)}`,
      withUnit(side.median, unit).padStart(VALUE_WIDTH),
      `(${digits(side.q1)} - ${digits(side.q3)})`.padStart(SPREAD_WIDTH),
      comparison === undefined ? '' : times(comparison).padStart(TIMES_WIDTH),
      comparison === undefined || comparison.goal === ''
        ? ''
        : `  goal ${comparison.goal} x: ${comparison.verdict}`,
    ];
    return cells.join(' ').trimEnd();
  });
  const others = result.comparisons
    .filter(({ against }) => !result.sides.some((side) => labelOf(side) === against))
    .map(
      (it) =>
        `  ${it.against}: ${times(it)}${it.goal === '' ? '' : `  goal ${it.goal} x: ${it.verdict}`}`,
    );
  return [titleOf(result), ...lines, ...others];
}

/** A side's name, with its population where it has one. */
export function labelOf({ name, at }: Pick<Figures, 'name' | 'at'>): string {
  return at === undefined ? name : `${name}, ${at.toLocaleString('en-US')}`;
}

/** The results that have a goal, a line each, then how many are met. */
export function summary(results: readonly Result[]): string[] {
  const lines: string[] = [];
  const counts = new Map<string, number>();
  for (const result of results) {
    for (const comparison of result.comparisons) {
      const { goal, verdict, against } = comparison;
      if (goal === '') continue;
      counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
      lines.push(
        [
          verdict.padEnd(13),
          `${digits(comparison.ratio)} x`.padStart(9),
          `${goal} x`.padStart(9),
          `  ${result.bench} | ${titleOf(result)} | ${against}`,
        ].join(' '),
      );
    }
  }
  if (lines.length === 0) return [];
  const totals = [...counts].map(([verdict, count]) => `${count} ${verdict}`).join(', ');
  return ['Goals', '', ...lines, '', totals];
}

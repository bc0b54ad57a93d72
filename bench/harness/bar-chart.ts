// One group of bars for each result of a bench, to a scale of its own: what matters is how long
// kcont's bar is beside the others of its group.

import type { Figures, Result } from './bench.ts';
import { picture, shape, text, wrap } from './svg.ts';
import { digits, labelOf, titleOf, withUnit } from './table.ts';

const WIDTH = 760;
const LEFT = 220;
const BARS = 330;
/** How far a whisker may stick out of the longest bar. */
const BEYOND = 20;
const ROW = 20;
const BAR = 12;
const LINE = 16;
const COLUMNS = 110;

function bar(result: Result, side: Figures, y: number, scale: number): string[] {
  const comparison = result.comparisons.find(({ against }) => against === side.name);
  const beside = comparison === undefined ? '' : ` · ${digits(comparison.ratio)} ×`;
  const width = Math.max(side.median * scale, 1);
  const within = (value: number): number => Math.min(Math.max(value * scale, 0), BARS + BEYOND);
  const middle = y + BAR / 2;
  return [
    text(LEFT - 8, y + 10, `end ${side.role}`, labelOf(side)),
    shape('rect', { x: LEFT, y, width, height: BAR, rx: 2, class: side.role }),
    shape('line', {
      x1: LEFT + within(side.q1),
      x2: LEFT + within(side.q3),
      y1: middle,
      y2: middle,
      class: 'whisker',
    }),
    text(
      LEFT + Math.max(width, within(side.q3)) + 8,
      y + 10,
      side.role,
      `${withUnit(side.median, result.unit)}${beside}`,
    ),
  ];
}

/** The chart of a bench; `where` is said below it. */
export function barChart(
  name: string,
  about: string,
  results: readonly Result[],
  where: string,
): string {
  const elements: string[] = [];
  let y = 24;
  elements.push(text(12, y, 'title', name));
  for (const line of wrap(about, COLUMNS)) {
    y += LINE;
    elements.push(text(12, y, 'note', line));
  }
  for (const result of results) {
    y += 30;
    elements.push(text(12, y, 'group', titleOf(result)));
    y += 8;
    const longest = Math.max(...result.sides.map(({ median }) => median));
    for (const side of result.sides) {
      elements.push(...bar(result, side, y, BARS / longest));
      y += ROW;
    }
  }
  y += 8;
  const notes = `Median, and the quartiles as a line. The ratios: what the peer costs, kcont being 1; for bytes and for the idle and the echo server, what kcont costs, the peer being 1. ${where}`;
  for (const line of wrap(notes, COLUMNS)) {
    y += LINE;
    elements.push(text(12, y, 'note', line));
  }
  return picture(WIDTH, y + 14, `${name}: ${about}`, elements);
}

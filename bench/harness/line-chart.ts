// Cost over population, both axes logarithmic: a line for each side, a panel for each result.

import type { Figures, Result, Role } from './bench.ts';
import { picture, shape, text, wrap } from './svg.ts';
import { digits, titleOf } from './table.ts';

const WIDTH = 760;
const LEFT = 60;
const PLOT_WIDTH = 480;
const PLOT_HEIGHT = 240;
const LINE = 16;
const COLUMNS = 110;

/** The powers of ten that enclose some values. */
function decades(values: readonly number[]): { low: number; high: number } {
  return {
    low: Math.floor(Math.log10(Math.min(...values))),
    high: Math.ceil(Math.log10(Math.max(...values))),
  };
}

function inWords(count: number): string {
  if (count >= 1e6) return `${count / 1e6} M`;
  return count >= 1000 ? `${count / 1000} k` : String(count);
}

/** One panel, its top at y. */
function panel(result: Result, top: number): string[] {
  const points = result.sides.filter(({ at, median }) => at !== undefined && median > 0);
  const populations = [...new Set(points.map(({ at }) => at as number))];
  const first = Math.log10(Math.min(...populations));
  const last = Math.log10(Math.max(...populations));
  const { low, high } = decades(points.map(({ median }) => median));
  const x = (at: number): number => LEFT + ((Math.log10(at) - first) / (last - first)) * PLOT_WIDTH;
  const y = (ns: number): number =>
    top + PLOT_HEIGHT - ((Math.log10(ns) - low) / (high - low)) * PLOT_HEIGHT;
  const right = LEFT + PLOT_WIDTH;
  const elements: string[] = [];
  for (let decade = low; decade <= high; decade++) {
    const at = y(10 ** decade);
    elements.push(
      shape('line', { x1: LEFT, x2: right, y1: at, y2: at, class: 'grid' }),
      text(
        LEFT - 8,
        at + 4,
        'end note',
        `${digits(10 ** decade).replace(/\.0+$/, '')} ${result.unit}`,
      ),
    );
  }
  for (const at of populations) {
    elements.push(
      shape('line', { x1: x(at), x2: x(at), y1: top, y2: top + PLOT_HEIGHT, class: 'grid' }),
      text(x(at), top + PLOT_HEIGHT + 16, 'middle note', inWords(at)),
    );
  }
  let lowest = -Infinity;
  for (const { name, role, points: line } of lines(points)) {
    const path = line.map(({ at, median }) => `${x(at as number)},${y(median)}`).join(' ');
    // From the top down; names keep their distance.
    lowest = Math.max(y((line.at(-1) as Figures).median) + 4, lowest + LINE);
    elements.push(
      shape('polyline', { points: path, class: `line ${role}`, style: 'fill: none' }),
      ...line.map(({ at, median }) =>
        shape('circle', { cx: x(at as number), cy: y(median), r: 3, class: role }),
      ),
      text(right + 10, lowest, role, name),
    );
  }
  return elements;
}

/** A line for each name, the one that ends highest first. */
function lines(
  points: readonly Figures[],
): { name: string; role: Role; points: readonly Figures[] }[] {
  return [...new Set(points.map(({ name }) => name))]
    .map((name) => {
      const own = points.filter((point) => point.name === name);
      return { name, role: (own[0] as Figures).role, points: own };
    })
    .toSorted((a, b) => (b.points.at(-1)?.median ?? 0) - (a.points.at(-1)?.median ?? 0));
}

/** The chart of a bench whose sides have populations; `where` is said below it. */
export function lineChart(
  name: string,
  about: string,
  results: readonly Result[],
  where: string,
): string {
  const elements = [text(12, 24, 'title', name)];
  let y = 24;
  for (const line of wrap(about, COLUMNS)) {
    y += LINE;
    elements.push(text(12, y, 'note', line));
  }
  for (const result of results) {
    y += 30;
    elements.push(text(12, y, 'group', titleOf(result)));
    elements.push(...panel(result, y + 14));
    y += 14 + PLOT_HEIGHT + 20;
  }
  y += 8;
  for (const line of wrap(`Medians; both axes are logarithmic. ${where}`, COLUMNS)) {
    y += LINE;
    elements.push(text(12, y, 'note', line));
  }
  return picture(WIDTH, y + 14, `${name}: ${about}`, elements);
}

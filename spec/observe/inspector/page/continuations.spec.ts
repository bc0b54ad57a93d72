import { expect } from 'chai';
import { describe, it } from 'mocha';
import { COLUMNS, TEXT_COLUMNS } from '../../../../lib/observe/inspector/protocol.ts';
import {
  Continuations,
  type Column,
} from '../../../../lib/observe/inspector/page/continuations.ts';
import {
  bytes,
  count,
  duration,
  micros,
  percent,
  rate,
} from '../../../../lib/observe/inspector/page/format.ts';

type Fields = Partial<Record<Column, string | number | null>>;

/** A list that was made at 1000 ms. */
function listOf(...entries: readonly Fields[]): Continuations {
  const list = new Continuations();
  list.add({ nowMs: 1000, total: entries.length });
  const numbers = new Map<string, number>();
  for (const entry of entries) {
    const texts: string[] = [];
    const row = COLUMNS.map((column, at) => {
      const value = entry[column] ?? null;
      if (at >= TEXT_COLUMNS || value === null) return value as number | null;
      const text = String(value);
      if (!numbers.has(text)) {
        numbers.set(text, numbers.size);
        texts.push(text);
      }
      return numbers.get(text) as number;
    });
    list.add({ texts, rows: [row] });
  }
  expect(list.isComplete).to.equal(false);
  list.add({ count: entries.length, tookMs: 3 });
  return list;
}

const list = listOf(
  { id: 1, name: 'far', state: 'pending', deadlineMs: 9000, lateMs: 0, workqueue: 'softclock' },
  { id: 2, name: 'near', state: 'pending', deadlineMs: 1100, lateMs: 0, workqueue: 'prilow' },
  { id: 3, name: 'overdue', state: 'pending', deadlineMs: 900, lateMs: 100, workqueue: 'prilow' },
  { id: 4, name: 'stuck', state: 'running', sinceMs: 100, lateMs: 0, workqueue: 'prilow' },
  { id: 5, name: 'old', state: 'running', sinceMs: null, lateMs: 0, lock: 'Near lake' },
);

function select(
  search: string,
  by: Parameters<Continuations['select']>[1],
  down = true,
): unknown[] {
  return Array.from(list.select(search, by, down), (at) => list.value(at, 'name'));
}

describe('the list of continuations', () => {
  it('has the stuck and the late first, then the timers by deadline', () => {
    expect(select('', 'urgency')).to.deep.equal(['stuck', 'overdue', 'old', 'near', 'far']);
  });

  it('is sorted by any column, what is not known last', () => {
    expect(select('', 'name', false)).to.deep.equal(['far', 'near', 'old', 'overdue', 'stuck']);
    expect(select('', 'name', true)).to.deep.equal(['stuck', 'overdue', 'old', 'near', 'far']);
    expect(select('', 'deadlineMs', false)).to.deep.equal([
      'overdue',
      'near',
      'far',
      'stuck',
      'old',
    ]);
    expect(select('', 'deadlineMs', true)).to.deep.equal([
      'far',
      'near',
      'overdue',
      'stuck',
      'old',
    ]);
    expect(select('', 'lock', false)[0]).to.equal('old');
  });

  it('is searched for words in any text, in any case, and for an id', () => {
    expect(select('near', 'id', false)).to.deep.equal(['near', 'old']);
    expect(select('  PRILOW run ', 'id', false)).to.deep.equal(['stuck']);
    expect(select('#3', 'id')).to.deep.equal(['overdue']);
    expect(select('#33', 'id')).to.deep.equal([]);
    expect(select('nowhere', 'id')).to.deep.equal([]);
  });

  it('has entries as objects', () => {
    expect(list.entry(4)).to.deep.include({ name: 'old', lock: 'Near lake', sinceMs: null, id: 5 });
    expect(list.value(9, 'name')).to.equal(null);
    expect([list.total, list.tookMs, list.isComplete]).to.deep.equal([5, 3, true]);
  });
});

describe('how the page writes numbers', () => {
  it('has three digits and a unit', () => {
    const texts = [0, 0.0123, 0.5, 1.234, 12.34, 123.4, 1234, 90_000, 7_200_000, 2e8, -5, Infinity];
    expect(texts.map(duration)).to.deep.equal([
      '0',
      '12.3 µs',
      '500 µs',
      '1.23 ms',
      '12.3 ms',
      '123 ms',
      '1.23 s',
      '1.50 min',
      '2 h',
      '2.31 days',
      '−5 ms',
      'never',
    ]);
    expect(micros(1500)).to.equal('1.50 ms');
    expect(count(12_345)).to.equal('12,345');
    expect([rate(5, 0), rate(5, 1000), rate(5, 2000), rate(0, 1000)]).to.deep.equal([
      '–',
      '5.0',
      '2.5',
      '0',
    ]);
    expect([percent(1, 0), percent(1, 4)]).to.deep.equal(['–', '25 %']);
    expect(bytes(2 ** 21)).to.equal('2 MiB');
  });
});

import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { clean, cleanJson, fit, ms, table, widthOf } from '../../../lib/observe/cli/text.ts';

// oxlint-disable-next-line eslint/no-control-regex -- these are what is looked for
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

describe('the text of the command', () => {
  it('shows control characters, line ends and marks of direction as escape sequences', () => {
    expect(clean('a\u001b[2J\r\nb\u009b\u202ec\u{e0041}\ud800')).to.equal(
      'a\\x1b[2J\\x0d\\x0ab\\x9b\\u{202e}c\\u{e0041}\\u{d800}',
    );
    expect(clean('Zürich 日本 👍')).to.equal('Zürich 日本 👍');
  });

  it('lets nothing unsafe through, whatever the name', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.nat(30), (text, width) => {
        expect(clean(text)).to.not.match(UNSAFE);
        expect(widthOf(fit(clean(text), width))).to.be.at.most(width);
        const json = cleanJson({ text });
        expect(json).to.not.match(UNSAFE);
        expect(JSON.parse(json)).to.deep.equal({ text });
      }),
    );
  });

  it('measures columns: two for wide characters, none for marks', () => {
    expect([widthOf('abc'), widthOf('日本'), widthOf('e\u0301'), widthOf('👍')]).to.deep.equal([
      3, 4, 1, 2,
    ]);
    expect(fit('日本語', 4)).to.equal('日…');
    expect(fit('abcdef', 4)).to.equal('abc…');
    expect(fit('abc', 0)).to.equal('');
  });

  it('makes tables that are no wider than the terminal', () => {
    const columns = [
      { title: 'NAME', of: (row: readonly [string, number]) => row[0], takesRest: true },
      { title: 'N', of: (row: readonly [string, number]) => `${row[1]}`, isNumber: true },
    ];
    const rows = [
      ['a rather long name', 5],
      ['日本', 1000],
    ] as const;
    expect(table(columns, rows, 80)).to.deep.equal([
      'NAME                   N',
      'a rather long name     5',
      '日本                1000',
    ]);
    expect(table(columns, rows, 14)).to.deep.equal([
      'NAME         N',
      'a rathe…     5',
      '日本      1000',
    ]);
    expect(table(columns, rows, 3)).to.deep.equal(['NA…', 'a …', '日…']);
  });

  it('shows three digits of a time', () => {
    expect([0, 1.234, 12.34, 123.4].map(ms)).to.deep.equal(['0.00', '1.23', '12.3', '123']);
  });
});

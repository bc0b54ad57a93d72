/*
 * Text for a terminal. Names come from other programs, and may contain anything: nothing is written that could move
 * the cursor, change colours, begin a line or turn the direction of the text.
 */

/** Control characters, line separators, marks that turn or hide text, and halves of characters. */
const UNSAFE =
  // oxlint-disable-next-line eslint/no-control-regex -- these are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;

/** What takes no place: marks that are put on the character before. */
const MARKS = /^\p{Mark}$/u;
/** What takes two places: East Asian characters, and pictures. */
const WIDE =
  /^(?:[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation})$/u;

/**
 * A text of another program, with all that is unsafe shown as an escape sequence: `\x1b`.
 *
 * @internal
 */
export function clean(text: string): string {
  return text.replaceAll(UNSAFE, (found) => {
    const code = found.codePointAt(0) as number;
    if (code <= 0xff) return `\\x${code.toString(16).padStart(2, '0')}`;
    return `\\u{${code.toString(16)}}`;
  });
}

/**
 * JSON on one line, in which unsafe characters are escaped.
 *
 * @internal
 */
export function cleanJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(UNSAFE, (found) =>
    Array.from({ length: found.length }, (_, at) => {
      return `\\u${found.charCodeAt(at).toString(16).padStart(4, '0')}`;
    }).join(''),
  );
}

/**
 * How many columns a text takes.
 *
 * @internal
 */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) {
    if (!MARKS.test(character)) width += WIDE.test(character) ? 2 : 1;
  }
  return width;
}

/**
 * A text cut off to a width, with an ellipsis if something is missing.
 *
 * @internal
 */
export function fit(text: string, width: number): string {
  if (text.length <= width && /^[\u0020-\u007e]*$/.test(text)) return text;
  if (widthOf(text) <= width) return text;
  let result = '';
  let used = 1;
  for (const character of text) {
    used += widthOf(character);
    if (used > width) break;
    result += character;
  }
  return width < 1 ? '' : `${result}…`;
}

/**
 * A column of a table.
 *
 * @internal
 */
export interface Column<T> {
  readonly title: string;
  readonly of: (row: T) => string;
  /** Numbers are aligned to the right. */
  readonly isNumber?: boolean;
  /** The first such column takes the width that is left. */
  readonly takesRest?: boolean;
}

/**
 * The lines of a table, of which none is wider than `width`.
 *
 * @internal
 */
export function table<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  width: number,
): string[] {
  const cells = rows.map((row) => columns.map(({ of }) => of(row)));
  const widths = columns.map(({ title }, at) => {
    return cells.reduce((most, row) => Math.max(most, widthOf(row[at] as string)), title.length);
  });
  const rest = columns.findIndex(({ takesRest }) => takesRest === true);
  const used = widths.reduce((sum, one) => sum + one + 2, -2);
  if (rest !== -1 && used > width) {
    const least = (columns[rest] as Column<T>).title.length;
    widths[rest] = Math.max(least, (widths[rest] as number) - (used - width));
  }
  const line = (texts: readonly string[]): string => {
    const parts = texts.map((text, at) => {
      const cut = fit(text, widths[at] as number);
      const space = ' '.repeat((widths[at] as number) - widthOf(cut));
      return columns[at]?.isNumber === true ? space + cut : cut + space;
    });
    return fit(parts.join('  ').trimEnd(), width);
  };
  return [line(columns.map(({ title }) => title)), ...cells.map(line)];
}

/**
 * Milliseconds for a table: three digits that matter.
 *
 * @internal
 */
export function ms(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value.toFixed(value >= 9.995 ? 1 : 2);
}

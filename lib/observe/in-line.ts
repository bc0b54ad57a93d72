/*
 * Names in reports are those of the program, or of its users. A name with a newline must not add a line to a log,
 * nor one with an escape sequence change the terminal.
 */

/** Characters that end a line, control a terminal or change the direction of the text. */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

/**
 * Returns a text in which characters that end a line or control a terminal are written as in a JavaScript string.
 *
 * @internal
 */
export function inLine(text: string): string {
  return text.replace(CONTROL, escaped);
}

function escaped(char: string): string {
  if (char === '\n') return String.raw`\n`;
  const code = char.charCodeAt(0).toString(16);
  return code.length <= 2
    ? String.raw`\x` + code.padStart(2, '0')
    : String.raw`\u` + code.padStart(4, '0');
}

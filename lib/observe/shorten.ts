/*
 * Names are those of the program, or of its users, and may be of any length. What is sent to other processes is sent
 * again and again, and a line there has a limit: a name of megabytes would occupy the event loop each time, or have
 * the whole answer refused.
 */

/** How many characters of a text are sent. */
const LONGEST = 200;
/** How many of them are its end: that of a path has the line, and names of one kind often differ there. */
const END = 100;

/**
 * Shortens a long text for another process: its middle is replaced by an ellipsis. No half of a character is left.
 *
 * @param longest - how many characters are left, over 100
 *
 * @internal
 */
export function shorten(text: string, longest: number = LONGEST): string {
  if (text.length <= longest) return text;
  const begin = text.slice(0, longest - END - 1).replace(/[\uD800-\uDBFF]$/, '');
  return `${begin}…${text.slice(-END).replace(/^[\uDC00-\uDFFF]/, '')}`;
}

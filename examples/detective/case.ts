/** Prints a line of a case. */
export type Say = (line: string) => void;

/** The name of the file in a place such as `/app/leak.js:12:3`, without its ending. */
export function fileOf(place: string | null): string {
  return place?.replace(/^.*\/(?<name>[^/]+)\.[jt]s:\d+:\d+$/, '$<name>') ?? 'an unknown place';
}

import type { Result } from './bench.ts';
import type { Machine } from './machine.ts';

export function writeReport(
  _machine: Machine,
  _results: readonly Result[],
  _folder: string,
): string[] {
  return [];
}

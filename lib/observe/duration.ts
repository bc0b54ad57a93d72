const UNITS: readonly (readonly [ms: number, unit: string])[] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
];

/**
 * A time span in its largest unit, rounded down, with one digit after the point below ten of them.
 *
 * @internal
 */
export function duration(ms: number): string {
  for (const [size, unit] of UNITS) {
    if (ms < size) continue;
    const amount = ms / size;
    return `${amount < 10 ? Math.floor(amount * 10) / 10 : Math.floor(amount)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(ms))} ms`;
}

/** How numbers and times are written. */

const MS_PER_S = 1000;
const S_PER_MIN = 60;
const MIN_PER_H = 60;
const H_PER_DAY = 24;
const US_PER_MS = 1000;

/** With three significant digits, or as an integer. */
function short(value: number): string {
  if (value >= 100 || Number.isInteger(value)) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** A duration in ms. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return 'never';
  const abs = Math.abs(ms);
  const sign = ms < 0 ? '−' : '';
  if (abs < 1) return abs === 0 ? '0' : `${sign}${short(abs * US_PER_MS)} µs`;
  if (abs < MS_PER_S) return `${sign}${short(abs)} ms`;
  const s = abs / MS_PER_S;
  if (s < S_PER_MIN) return `${sign}${short(s)} s`;
  const min = s / S_PER_MIN;
  if (min < MIN_PER_H) return `${sign}${short(min)} min`;
  const h = min / MIN_PER_H;
  return h < H_PER_DAY ? `${sign}${short(h)} h` : `${sign}${short(h / H_PER_DAY)} days`;
}

/** A duration in µs. */
export function micros(us: number): string {
  return duration(us / US_PER_MS);
}

const whole: Intl.NumberFormat = new Intl.NumberFormat('en');

/** A number of things. */
export function count(value: number): string {
  return whole.format(Math.round(value));
}

/** How many per second. */
export function rate(value: number, intervalMs: number): string {
  if (intervalMs <= 0) return '–';
  const perS = (value * MS_PER_S) / intervalMs;
  return perS > 0 && perS < 10 ? perS.toFixed(1) : count(perS);
}

/** A part of a whole, in percent. */
export function percent(part: number, all: number): string {
  return all <= 0 ? '–' : `${((100 * part) / all).toFixed(0)} %`;
}

const MIB = 2 ** 20;

/** A number of bytes. */
export function bytes(value: number): string {
  return `${count(value / MIB)} MiB`;
}

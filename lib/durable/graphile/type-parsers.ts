/*
 * How values of the database are read on connections whose statements are all of this library. pg reads them by a
 * table that belongs to the whole program, and a program may have changed it: to read a bigint as a BigInt, JSON
 * as text, a time as a string. graphile-worker needs what is the default of pg.
 *
 * Everything that is not listed is left as text, also arrays: a statement of this library returns JSON instead.
 */

import type { CustomTypesConfig } from 'pg';
import { dateAt } from '../../time/wall-clock.ts';

const BOOLEAN = 16;
const NUMBERS = [21, 23, 26, 700, 701];
const JSONS = [114, 3802];
const TIME = 1184;

const PARSERS: ReadonlyMap<number, (text: string) => unknown> = new Map([
  [BOOLEAN, (text: string): unknown => text === 't'],
  ...NUMBERS.map((oid) => [oid, Number] as const),
  ...JSONS.map((oid) => [oid, JSON.parse as (text: string) => unknown] as const),
  [TIME, timeOf],
]);

/**
 * The type parsers of connections with the settings `OWN`, on which times are in UTC.
 *
 * @internal
 */
export const OWN_TYPES: CustomTypesConfig = {
  getTypeParser: ((oid: number) =>
    PARSERS.get(oid) ?? String) as CustomTypesConfig['getTypeParser'],
};

/** Reads a time as in `2026-11-30 22:10:14.123456+00`. Before Christ and infinity are no Date. */
function timeOf(text: string): Date {
  const [, year, month, day, hour, minute, second, fraction = ''] =
    /^(\d+)-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)?\+00$/.exec(text) ?? [];
  const date = dateAt(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  date.setUTCHours(
    Number(hour),
    Number(minute),
    Number(second),
    Math.trunc(Number(fraction) * 1000),
  );
  return date;
}

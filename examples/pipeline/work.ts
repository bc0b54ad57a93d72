// The processing of a request, which the three sites share.

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

/** A request and its response. */
export interface Exchange {
  readonly url: string;
  /** Whether it comes from an operator, who must not wait behind the crowd. */
  readonly operator: boolean;
  answer(status: number, body: string): void;
}

/** The parsed request. */
export interface Query {
  readonly exchange: Exchange;
  readonly user: string;
  readonly token: string;
  readonly topic: string;
}

export interface Found extends Query {
  readonly rows: readonly number[];
}

export interface Page extends Query {
  readonly html: string;
}

/** An implementation of the site: it moves requests through the functions below. */
export interface Site {
  accept(exchange: Exchange): void;
  close(): Promise<void>;
  /** Describes its state as text. */
  draw?(): string;
}

/** Number of concurrent requests to the token service and to the database. */
export const AT_A_TIME = 16;
const AUTHENTICATE_MS = 3;
const SEARCH_MS = 4;
const ROWS = 150;

class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export function tokenOf(user: string): string {
  return createHash('sha256').update(`secret of ${user}`).digest('hex').slice(0, 16);
}

/** Parses the URL `/topic?user=…&token=…`. */
export function parse(exchange: Exchange): Query {
  const { pathname, searchParams } = new URL(exchange.url, 'http://site');
  const user = searchParams.get('user');
  if (user === null) throw new Refusal(400, 'who are you?');
  return { exchange, user, token: searchParams.get('token') ?? '', topic: pathname.slice(1) };
}

/** Checks the token, by a simulated service. */
export async function authenticate(query: Query): Promise<Query> {
  await sleep(AUTHENTICATE_MS);
  if (query.token !== tokenOf(query.user)) throw new Refusal(401, 'I do not believe you');
  return query;
}

/** Loads the data, from a simulated database. */
export async function search(query: Query): Promise<Found> {
  await sleep(SEARCH_MS);
  return { ...query, rows: Array.from({ length: ROWS }, (_, i) => i * query.topic.length) };
}

/** Renders the page, which uses CPU time. */
export function render(found: Found): Page {
  const cells = found.rows.map((row, i) => {
    const text = `${found.topic} ${i}: ${row.toFixed(2)}`;
    return `<tr><td>${i}</td><td>${text.replaceAll(/[<>&]/g, '')}</td></tr>`;
  });
  return { ...found, html: `<h1>${found.user}</h1><table>${cells.join('\n')}</table>` };
}

export function respond(page: Page): void {
  page.exchange.answer(200, page.html);
}

/** Answers a request that has failed. */
export function refuse(exchange: Exchange, error: unknown): void {
  if (error instanceof Refusal) exchange.answer(error.status, error.message);
  else exchange.answer(500, 'something went wrong');
}

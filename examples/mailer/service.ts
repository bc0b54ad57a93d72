// The HTTP service.
//
//   POST /reminders/ID     { "to": "ann", "text": "…", "inMs": 60000 }: schedules, or moves
//   GET /reminders/ID      its state
//   DELETE /reminders/ID   withdraws it

import { createServer, type IncomingMessage, type Server } from 'node:http';
import { KcontError } from '../../lib/index.ts';
import type { Reminder, Reminders } from './reminders.ts';

const LONGEST_BODY = 10_000;

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** Returns the server; it does not listen yet. */
export function makeService(reminders: Reminders): Server {
  return createServer((request, response) => {
    answer(request, reminders).then(
      ({ status, body }) => {
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(`${JSON.stringify(body)}\n`);
      },
      (error: unknown) => {
        const isBad = error instanceof SyntaxError || error instanceof KcontError;
        response.writeHead(isBad ? 400 : 500, { 'content-type': 'application/json' });
        response.end(`${JSON.stringify({ error: (error as Error).message })}\n`);
      },
    );
  });
}

async function answer(request: IncomingMessage, reminders: Reminders): Promise<Answer> {
  const id = /^\/reminders\/(?<id>[\w.-]{1,100})$/.exec(request.url ?? '')?.groups?.['id'];
  if (id === undefined) return { status: 404, body: { error: 'try /reminders/ID' } };
  const nothing: Reminder = { to: '-', text: '' };
  if (request.method === 'POST') {
    const { to, text, inMs } = JSON.parse(await bodyOf(request)) as Record<string, unknown>;
    if (typeof to !== 'string' || typeof text !== 'string' || typeof inMs !== 'number') {
      return { status: 400, body: { error: 'expected to, text and inMs' } };
    }
    const scheduled = await reminders.of(id, { to, text }).schedule(inMs);
    return { status: scheduled ? 200 : 409, body: { scheduled } };
  }
  const reminder = reminders.of(id, nothing);
  if (request.method === 'DELETE') return { status: 200, body: await reminder.cancel() };
  return { status: 200, body: await reminder.state() };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += String(chunk);
    if (body.length > LONGEST_BODY) throw new SyntaxError('the body is too long');
  }
  return body;
}

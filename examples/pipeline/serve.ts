// An HTTP server for a site, which also checks that the answers to a user are in order.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Exchange, Site } from './work.ts';

export interface Front {
  readonly port: number;
  /** Returns the number of answers that overtook an earlier request of the same user. */
  readonly overtaken: () => number;
  close(): Promise<void>;
}

/** Serves a site on a given port; 0 lets the system choose one. */
export async function serve(site: Site, port: number = 0): Promise<Front> {
  /** The unanswered requests of each user, in order of arrival. */
  const waiting = new Map<string, Exchange[]>();
  let overtaken = 0;
  const server = createServer((request, response) => {
    const url = request.url ?? '/';
    const user = /[?&]user=([^&]*)/.exec(url)?.[1] ?? '';
    const exchange: Exchange = {
      url,
      operator: request.headers['x-operator'] !== undefined,
      answer(status, body) {
        const line = waiting.get(user) as Exchange[];
        if (line[0] !== exchange) overtaken++;
        line.splice(line.indexOf(exchange), 1);
        if (line.length === 0) waiting.delete(user);
        response.writeHead(status, { 'content-type': 'text/html' }).end(body);
      },
    };
    const line = waiting.get(user);
    if (line === undefined) waiting.set(user, [exchange]);
    else line.push(exchange);
    site.accept(exchange);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    overtaken: () => overtaken,
    async close() {
      server.close();
      await site.close();
      server.closeAllConnections();
    },
  };
}

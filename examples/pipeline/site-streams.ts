import { Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pLimit from 'p-limit';
import { AT_A_TIME, authenticate, parse, refuse, render, respond, search } from './work.ts';
import type { Exchange, Query, Site } from './work.ts';

/** Number of requests that may be inside, as many as the other sites admit before they queue. */
const INSIDE = 4 * AT_A_TIME;

export function openStreamsSite(): Site {
  const authenticating = pLimit(AT_A_TIME);
  const searching = pLimit(AT_A_TIME);
  /** The promise that a user's next request has to wait for. */
  const tails = new Map<string, Promise<void>>();
  let inside = 0;
  let letNextIn: (() => void) | undefined;

  const handle = async (query: Query): Promise<void> => {
    try {
      await authenticating(() => authenticate(query));
      respond(render(await searching(() => search(query))));
    } catch (error) {
      refuse(query.exchange, error);
    }
  };
  const leave = (user: string, tail: Promise<void>): void => {
    if (tails.get(user) === tail) tails.delete(user);
    inside--;
    const done = letNextIn;
    letNextIn = undefined; // reset before the call, which writes the next request
    done?.();
  };

  const parser = new Transform({
    objectMode: true,
    transform(exchange: Exchange, _encoding, done) {
      try {
        this.push(parse(exchange));
      } catch (error) {
        refuse(exchange, error);
      }
      done();
    },
  });
  const worker = new Writable({
    objectMode: true,
    write(query: Query, _encoding, done) {
      const { user } = query;
      const tail: Promise<void> = (tails.get(user) ?? Promise.resolve())
        .then(() => handle(query))
        .then(() => leave(user, tail));
      tails.set(user, tail);
      if (++inside < INSIDE) done();
      else letNextIn = done;
    },
    final(done) {
      void Promise.all(tails.values()).then(() => done());
    },
  });
  const finished = pipeline(parser, worker);
  return {
    accept: (exchange) => void parser.write(exchange),
    close: async () => {
      parser.end();
      await finished;
    },
  };
}

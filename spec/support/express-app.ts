// A typical server with express 5, and what its clients see of its timeouts. It does not use kcont.
// Prints a line per observation, and ends by itself.

import { EventEmitter, once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import express, { type ErrorRequestHandler, type Request, type Response } from 'express';
import { say, timed } from './observed.ts';

const wait = promisify(setTimeout);
const app = express();

// A time limit as in the documentation of express: a timer per request, cleared at its end.
const over = new EventEmitter();
app.use((_: Request, response: Response, next) => {
  const timer = setTimeout(() => {
    if (!response.headersSent) response.status(503).send('too slow');
  }, 500);
  response.on('close', () => {
    clearTimeout(timer);
    over.emit('cleared');
  });
  next();
});
app.use(express.json({ limit: 100 }));

app.get('/hello/:name', (request, response) => void response.json({ hello: request.params.name }));
app.get('/later', async (_, response) => {
  await wait(30);
  response.send('later');
});
app.get('/soon', (_, response) => {
  setImmediate((body: string) => void response.send(body), 'soon');
});
app.get('/interval', (_, response) => {
  const chunks = ['a', 'b', 'c'];
  const timer = setInterval(() => {
    const chunk = chunks.shift();
    if (chunk !== undefined) return void response.write(chunk);
    clearInterval(timer);
    response.end();
  }, 5);
});
app.post('/echo', (request, response) => void response.json(request.body));
app.get('/rejects', async () => {
  await wait(5);
  throw new RangeError('rejected behind a timer');
});
app.get('/throws', () => {
  throw new RangeError('thrown');
});
app.get('/never', () => undefined);
const onError: ErrorRequestHandler = (error: Error & { status?: number }, _, response, next) => {
  if (response.headersSent) next(error);
  else response.status(error.status ?? 500).json({ error: error.name });
};
app.use(onError);

const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');
server.keepAliveTimeout = 1000;
const { port } = server.address() as AddressInfo;
const url = `http://127.0.0.1:${port}`;

for (const path of ['/hello/ann', '/later', '/soon', '/interval', '/rejects', '/throws', '/none']) {
  const response = await fetch(url + path);
  say(path, `${response.status} ${(await response.text()).replaceAll(/\s+/g, ' ')}`);
}
for (const body of ['{"a":1}', '{"a":', JSON.stringify('x'.repeat(200))]) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/echo`, { method: 'POST', headers, body });
  say(`echo of ${body.length} bytes`, `${response.status} ${await response.text()}`);
}
await timed('a handler that does not answer', 500, async () => {
  const response = await fetch(`${url}/never`);
  return `${response.status} ${await response.text()}`;
});

// Twenty concurrent requests that sleep equally long: they overlap.
const many = await Promise.all(Array.from({ length: 20 }, () => fetch(`${url}/later`)));
say('twenty at once', new Set(many.map(({ status }) => status)).size);
await Promise.all(many.map((response) => response.text()));

// A client that disconnects: its timer is cleared, and it gets no answer.
const gone = connect(port, '127.0.0.1');
gone.write('GET /never HTTP/1.1\r\nHost: x\r\n\r\n');
await once(server, 'request');
await timed('a client that goes away', 0, async () => {
  gone.destroy();
  await once(over, 'cleared');
  return 'its timer is cleared';
});

const kept = connect(port, '127.0.0.1').setEncoding('utf8');
await timed('keep-alive', 1000, async () => {
  for (const name of ['ann', 'bob']) {
    kept.write(`GET /hello/${name} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const [reply] = await once(kept, 'data');
    say('kept alive', String(reply).split('\r\n').at(-1));
  }
  await once(kept, 'close');
  return 'closed';
});

await promisify(server.close.bind(server))();
process.on('exit', (code) => say('exit', code));

// A typical server with fastify and ws, and what its clients see of its timeouts. It does not use kcont.
// Prints a line per observation, and ends by itself.

import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import Fastify from 'fastify';
import { WebSocket, WebSocketServer, type ServerOptions } from 'ws';
import { say, timed } from './observed.ts';

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

const app = Fastify({
  // Requests that must not time out have more than ten times the time that they need.
  keepAliveTimeout: 1000,
  requestTimeout: 1000,
  handlerTimeout: 1000,
  http: { connectionsCheckingInterval: 50 },
});

app.get('/hello', { schema: { querystring: { type: 'object', required: ['name'] } } }, (req) => ({
  hello: (req.query as { name: string }).name,
}));
app.get('/later', async () => {
  await wait(30);
  return 'later';
});
app.get('/never', () => new Promise(() => undefined));
app.get('/interval', (_, reply) => {
  const chunks = ['a', 'b', 'c'];
  reply.hijack();
  const timer = setInterval(() => {
    const chunk = chunks.shift();
    if (chunk !== undefined) return void reply.raw.write(chunk);
    clearInterval(timer);
    reply.raw.end();
  }, 5);
});

await app.listen({ port: 0, host: '127.0.0.1' });
const { port } = app.server.address() as AddressInfo;
const url = `http://127.0.0.1:${port}`;

for (const path of ['/hello?name=ann', '/hello', '/later', '/interval', '/nowhere']) {
  const response = await fetch(url + path);
  say(path, `${response.status} ${await response.text()}`);
}
await timed('handler timeout', 1000, async () => (await fetch(`${url}/never`)).status);

// Keep-alive: two requests over one connection, then the server closes it.
const kept = connect(port, '127.0.0.1').setEncoding('utf8');
await timed('keep-alive', 1000, async () => {
  for (let i = 0; i < 2; i++) {
    kept.write(`GET /hello?name=${i} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const [reply] = await once(kept, 'data');
    say('kept alive', String(reply).split('\r\n').at(-1));
  }
  await once(kept, 'close');
  return 'closed';
});

const half = connect(port, '127.0.0.1').setEncoding('utf8');
await timed('half a request', 1000, async () => {
  half.write('GET /hello HTTP/1.1\r\nHost: x\r\n');
  const [head] = await once(half, 'data');
  return String(head).split('\r\n')[0];
});
half.destroy();

// A heartbeat as in the documentation of ws.
// Its types do not have closeTimeout yet.
const options: ServerOptions & { closeTimeout: number } = { server: app.server, closeTimeout: 100 };
const wss = new WebSocketServer(options);
const alive = new WeakMap<WebSocket, boolean>();
wss.on('connection', (socket) => {
  alive.set(socket, true);
  socket.on('pong', () => alive.set(socket, true));
  socket.on('message', (data: Buffer) => {
    if (data.toString() === 'close me') socket.close(1000);
    else socket.send(`echo ${data.toString()}`);
  });
});
const heartbeat = setInterval(() => {
  for (const socket of wss.clients) {
    if (alive.get(socket) === false) {
      socket.terminate();
      continue;
    }
    alive.set(socket, false);
    socket.ping();
  }
}, 500);

const good = new WebSocket(`ws://127.0.0.1:${port}`);
await once(good, 'open');
let pings = 0;
good.on('ping', () => void pings++);
await timed('a client that does not answer a ping', 500, async () => {
  const silent = new WebSocket(`ws://127.0.0.1:${port}`, { autoPong: false });
  await once(silent, 'open');
  const [code] = await once(silent, 'close');
  return `closed with ${code}`;
});
say('a client that does, after some pings', `${pings > 0} ${good.readyState === WebSocket.OPEN}`);
good.send('still there');
say('its echo', (await once(good, 'message'))[0]);
clearInterval(heartbeat);

// Requests the close but does not complete it: ws ends the connection after its timeout.
const deaf = connect(port, '127.0.0.1');
deaf.write(
  'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n',
);
await once(deaf, 'data');
deaf.resume();
const mask = [0, 0, 0, 0];
await timed('a client that does not close', 100, async () => {
  deaf.write(Buffer.from([0x81, 0x88, ...mask, ...Buffer.from('close me')]));
  await once(deaf, 'close');
  return 'closed';
});

const mute = createServer(() => undefined).listen(0, '127.0.0.1');
await once(mute, 'listening');
const { port: mutePort } = mute.address() as AddressInfo;
await timed('a server that does not shake hands', 60, async () => {
  const waiting = new WebSocket(`ws://127.0.0.1:${mutePort}`, { handshakeTimeout: 60 });
  const [error] = await once(waiting, 'error');
  return (error as Error).message;
});
mute.close();

await timed('a plugin that does not load', 60, async () => {
  const slow = Fastify({ pluginTimeout: 60 });
  slow.register(() => new Promise(() => undefined));
  return slow.ready().then(
    () => 'loaded',
    (error: { code: string }) => error.code,
  );
});

good.close();
await once(good, 'close');
await app.close();
say('closed, clients left', wss.clients.size);
process.on('exit', (code) => say('exit', code));

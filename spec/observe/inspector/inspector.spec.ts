import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Kcont, Mutex, RWLock, type KcontOptions, type Kernel } from '../../../lib/index.ts';
import { Guard } from '../../../lib/observe/inspector/guard.ts';
import { serveInspector, type Inspector } from '../../../lib/observe/inspector/index.ts';
import { InspectorServer, type Limits } from '../../../lib/observe/inspector/inspector-server.ts';
import { MOST_COUNTED, type Sample } from '../../../lib/observe/inspector/protocol.ts';
import { observerOf } from '../../../lib/observe/kernel-observer.ts';
import { Continuations } from '../../../lib/observe/inspector/page/continuations.ts';
import { RunHistory } from '../../../lib/observe/inspector/page/run-history.ts';
import { runModule } from '../../support/child.ts';
import { Lab, rejectionOf } from '../../support/lab.ts';
import { observe } from '../../support/observe.ts';

const TOKEN = 'a-token-of-a-spec_0123';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly body?: string;
  /** Undefined: without this header. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
}

let inspector: Inspector;
let lab: Lab;

/** Sends a request, which is by default a good one for a sample. */
function ask({
  method = 'POST',
  path = '/api/sample',
  body = '{}',
  headers = {},
}: Asked = {}): Promise<Answer> {
  const { port } = inspector;
  const all = {
    host: `127.0.0.1:${port}`,
    origin: `http://127.0.0.1:${port}`,
    authorization: `Bearer ${TOKEN}`,
    'content-type': 'application/json',
    ...headers,
  };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return new Promise((resolve, reject) => {
    const sent = request(
      { port, host: '127.0.0.1', method, path, headers: Object.fromEntries(given), agent: false },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode = 0, headers: got } = response;
          resolve({ status: statusCode, headers: got, body: Buffer.concat(parts) });
        });
      },
    );
    sent.on('error', reject);
    sent.end(method === 'POST' ? body : undefined);
  });
}

async function statusOf(asked: Asked): Promise<number> {
  return (await ask(asked)).status;
}

async function sample(): Promise<Sample> {
  const { status, body } = await ask();
  expect(status).to.equal(200);
  return JSON.parse(body.toString()) as Sample;
}

function taps(kernel: Kernel): number {
  return observerOf(kernel).taps.length;
}

beforeEach(async () => {
  lab = new Lab();
  inspector = await serveInspector({ kernel: lab.kernel, token: TOKEN });
});
afterEach(() => inspector.close());

describe('the requests that the inspector answers', () => {
  it('are those of its own page', async () => {
    expect(inspector.url).to.equal(`http://127.0.0.1:${inspector.port}/#token=${TOKEN}`);
    expect(await statusOf({})).to.equal(200);
    for (const path of ['/', '/main.js', '/style.css', '/views.css']) {
      const bare = { authorization: undefined, origin: undefined };
      const { status, headers, body } = await ask({ method: 'GET', path, headers: bare });
      expect(status, path).to.equal(200);
      expect(body.length).to.equal(Number(headers['content-length']));
      expect(body.toString()).to.not.include(TOKEN);
      expect(headers['content-security-policy']).to.include("default-src 'none'");
      expect(headers['cross-origin-resource-policy']).to.equal('same-origin');
      expect(headers['cache-control']).to.equal('no-store');
      const head = await ask({ method: 'HEAD', path, headers: bare });
      expect([head.status, head.body.length]).to.deep.equal([200, 0]);
    }
  });

  it('name this machine: a name that another page has made for it is refused', async () => {
    for (const name of ['127.0.0.1', 'localhost', 'LOCALHOST', '[::1]']) {
      const headers = { host: `${name}:1`, origin: `http://${name}:1` };
      expect(await statusOf({ headers }), name).to.equal(200);
    }
    for (const host of [
      'evil.example',
      'evil.example:1',
      '10.0.0.1',
      '127.0.0.1.evil.example',
      '@',
    ]) {
      const headers = { host, origin: `http://${host}` };
      expect(await statusOf({ headers }), host).to.equal(403);
      expect(await statusOf({ method: 'GET', path: '/', headers }), host).to.equal(403);
    }
  });

  it('have the origin of the page', async () => {
    const { port } = inspector;
    const origins = [
      undefined,
      'null',
      'http://evil.example',
      `http://127.0.0.1:${port + 1}`,
      `https://127.0.0.1:${port}`,
      `http://localhost:${port}`,
    ];
    for (const origin of origins) {
      expect(await statusOf({ headers: { origin } }), origin).to.equal(403);
    }
    for (const site of ['cross-site', 'same-site', 'none']) {
      expect(await statusOf({ headers: { 'sec-fetch-site': site } }), site).to.equal(403);
    }
    expect(await statusOf({ headers: { 'sec-fetch-site': 'same-origin' } })).to.equal(200);
  });

  it('have the token in the header for it, and nowhere else', async () => {
    const none = { authorization: undefined };
    for (const authorization of [
      undefined,
      TOKEN,
      `Basic ${TOKEN}`,
      'Bearer',
      `Bearer ${TOKEN}x`,
      `Bearer ${TOKEN.slice(1)}`,
    ]) {
      const { status, headers } = await ask({ headers: { authorization } });
      expect([status, headers['www-authenticate']], authorization).to.deep.equal([401, 'Bearer']);
    }
    expect(await statusOf({ headers: { ...none, cookie: `token=${TOKEN}` } })).to.equal(401);
    expect(await statusOf({ headers: { ...none, 'x-token': TOKEN } })).to.equal(401);
    expect(await statusOf({ headers: none, body: JSON.stringify({ token: TOKEN }) })).to.equal(401);
    expect(await statusOf({ headers: none, path: `/api/sample?token=${TOKEN}` })).to.equal(404);
    expect(await statusOf({ method: 'GET', path: `/?token=${TOKEN}` })).to.equal(404);
  });

  it('have the right method, and a small body of JSON', async () => {
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
      const { status, headers } = await ask({ method });
      expect([status, headers['allow']], method).to.deep.equal([405, 'POST']);
    }
    const { status, headers } = await ask({ path: '/' });
    expect([status, headers['allow']]).to.deep.equal([405, 'GET, HEAD']);
    expect(await statusOf({ headers: { 'content-type': 'text/plain' } })).to.equal(415);
    expect(await statusOf({ headers: { 'content-type': undefined } })).to.equal(415);
    expect(await statusOf({ body: `"${'x'.repeat(5000)}"` })).to.equal(413);
    for (const body of ['', '{', 'null', '1']) {
      expect(await statusOf({ body }), body).to.equal(400);
    }
    for (const body of [
      '{"rings":1}',
      '{"rings":[1]}',
      '{"rings":[[1]]}',
      '{"rings":[[-1,0]]}',
      '{"rings":[[0,0.5]]}',
      '{"source":"1"}',
      `{"rings":[${Array(65).fill('[0,0]').join(',')}]}`,
    ]) {
      expect(await statusOf({ path: '/api/records', body }), body).to.equal(400);
    }
    for (const path of ['/nothing', '/../package.json', '/main.js/', '//', '/api']) {
      expect(await statusOf({ path }), path).to.equal(404);
    }
  });

  it('load nothing of the page elsewhere, but a link may lead to it', async () => {
    const site = { 'sec-fetch-site': 'cross-site' };
    const navigation = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    const get = (path: string, headers: Record<string, string>): Promise<number> =>
      statusOf({ method: 'GET', path, headers });
    expect(await get('/main.js', { ...site, 'sec-fetch-mode': 'no-cors' })).to.equal(403);
    expect(await get('/', { ...site, ...navigation, 'sec-fetch-dest': 'iframe' })).to.equal(403);
    expect(await get('/', { ...site, ...navigation })).to.equal(200);
    expect(await get('/', { 'sec-fetch-site': 'none' })).to.equal(200);
    expect(await get('/main.js', { 'sec-fetch-site': 'same-origin' })).to.equal(200);
  });
});

describe('serveInspector()', () => {
  it('refuses invalid options', async () => {
    for (const options of [
      { port: -1 },
      { port: 65_536 },
      { port: 1.5 },
      { host: '' },
      { host: 'a b' },
      { token: 'short' },
      { token: 'with spaces and more' },
      { allowedHosts: [''] },
      { allowedHosts: 'localhost' },
      // A Host header is compared without its port, so a name with one would never match.
      { allowedHosts: ['build.example:8080'] },
      { allowedHosts: ['192.0.2.1:80'] },
      { allowedHosts: ['[2001:db8::1]:80'] },
      { allowedHosts: ['build.example', 'build.example:'] },
      { allowedHosts: ['http://build.example'] },
      { allowedHosts: ['2001:db8::g'] },
      { allowedHosts: ['fe80::1%eth0'] },
      { allowedHosts: ['256.0.0.1'] },
      { host: 'localhost:80' },
      { host: '127.0.0.1:80' },
      { host: '[::1]:80' },
      { kernel: {} },
      { hosts: 'x' },
      7,
    ]) {
      const served = serveInspector(options as object);
      expect(await rejectionOf(served), JSON.stringify(options)).to.equal('EINVAL');
    }
  });

  it('rejects with the error of the system', async () => {
    const { port } = inspector;
    expect(await rejectionOf(serveInspector({ port }))).to.include('EADDRINUSE');
  });

  it('has a random token by default, and listens on this machine only', async () => {
    await using first = await serveInspector();
    await using second = await serveInspector();
    expect(first.url).to.match(/^http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]{32}$/);
    const tokens = [first, second].map(({ url }) => url.split('=')[1]);
    expect(tokens[0]).to.not.equal(tokens[1]);
  });

  it('lets other machines connect if asked to: by address, or by a name that is allowed', async () => {
    await inspector.close();
    inspector = await serveInspector({
      host: '0.0.0.0',
      token: TOKEN,
      allowedHosts: ['Build.example'],
    });
    expect(inspector.url).to.equal(`http://127.0.0.1:${inspector.port}/#token=${TOKEN}`);
    const status = (host: string): Promise<number> =>
      statusOf({ headers: { host, origin: `http://${host}` } });
    expect(await status('192.0.2.1:80')).to.equal(200);
    expect(await status('[2001:db8::1]')).to.equal(200);
    expect(await status('build.example')).to.equal(200);
    expect(await status('evil.example')).to.equal(403);
  });

  it('takes an address in allowedHosts as a browser writes it, and as the system does', async () => {
    await inspector.close();
    inspector = await serveInspector({
      token: TOKEN,
      allowedHosts: ['2001:DB8:0::1', '192.0.2.1'],
    });
    const status = (host: string): Promise<number> =>
      statusOf({ headers: { host, origin: `http://${host}` } });
    expect(await status('[2001:db8::1]:80')).to.equal(200);
    expect(await status('[2001:db8::2]')).to.equal(403);
    expect(await status('192.0.2.1:80')).to.equal(200);
    expect(await status('192.0.2.2:80')).to.equal(403);
  });

  it('closes all connections, and is closed once', async () => {
    const { port } = inspector;
    const idle = connect(port, '127.0.0.1');
    const ended = new Promise((resolve) => {
      idle.on('close', resolve);
    });
    idle.on('error', () => undefined);
    await new Promise((resolve) => {
      idle.on('connect', resolve);
    });
    await sample();
    expect(taps(lab.kernel)).to.be.above(0);
    await inspector.close();
    await inspector.close();
    await ended;
    expect(taps(lab.kernel)).to.equal(0);
    expect(await rejectionOf(statusOf({}))).to.include('ECONNREFUSED');
  });

  it('does not keep the process alive, nor does an open connection', async () => {
    const module = new URL('../../../lib/observe/inspector/index.js', import.meta.url).href;
    const { code, out } = await runModule(`
      import { connect } from 'node:net';
      import { serveInspector } from ${JSON.stringify(module)};
      const { port } = await serveInspector();
      const socket = connect(port, '127.0.0.1');
      await new Promise((resolve) => socket.on('connect', resolve));
      socket.unref();
      console.log('connected');
    `);
    expect([code, out]).to.deep.equal([0, ['connected']]);
  });
});

describe('the data of the inspector', () => {
  it('are counters, percentiles, runs in flight and locks', async () => {
    const { wq } = lab.kernel;
    await sample();
    const journal = new Mutex({ name: 'journal' });
    lab.async('flush', { wq: wq.prilow, lock: journal, options: { name: 'flush' } }).schedule();
    lab.clock.tick(1);
    lab.async('append', { wq: wq.prihigh, lock: journal, options: { name: 'append' } }).schedule();
    const late = new Kcont(wq.softclock, null, () => undefined, 0, { name: 'late' });
    late.schedule(10);
    lab.clock.tick(30);
    // A recent sample is sent again.
    expect((await sample()).number).to.equal(1);
    await waitForFreshSample();
    const found = await sample();
    expect(found.number).to.equal(2);
    expect(found.nowMs).to.equal(lab.clock.now);
    expect(found.runs.map(({ name, sinceMs }) => [name, sinceMs])).to.deep.equal([['flush', 0]]);
    const lock = found.locks.find(({ name }) => name === 'journal');
    expect(lock).to.deep.include({ name: 'journal', held: true, waiting: 1 });
    expect(lock?.holders.map(({ name }) => name)).to.deep.equal(['flush']);
    expect(lock?.waiters.map(({ name }) => name)).to.deep.equal(['append']);
    expect(lock?.counters).to.deep.include({ taken: 1, contended: 1 });
    expect(found.graph?.waits.map(({ waiter, what }) => [waiter.name, what])).to.deep.equal([
      ['append', 'journal'],
    ]);
    expect(found.graph?.deadlocks).to.deep.equal([]);
    const softclock = found.workqueues.find(({ name }) => name === 'softclock');
    expect(softclock?.latenessUs.count).to.equal(1);
    expect(found.process.pid).to.equal(process.pid);
    expect(found.intervalMs).to.be.above(400);
  });

  it('have the locks of this kernel, however many others are contended', async () => {
    const other = new Lab();
    const others = Array.from({ length: 200 }, (_, n) => {
      const lock = new Mutex({ name: `other ${n}` });
      other.async('holds', { lock }).schedule();
      const waits = other.async('waits', { lock });
      waits.schedule();
      return waits;
    });
    other.clock.tick(1);
    // Two of one name are told apart. A lock that nobody has any more is not shown.
    const pools = [1, 2].map(() => new Mutex({ name: 'pool' }));
    for (const [index, lock] of pools.entries()) {
      for (let n = 0; n <= index; n++) {
        lab.sync('quick', { lock }).schedule();
        lab.clock.tick(1);
      }
    }
    const unnamed = new Mutex();
    for (const name of ['holds', 'waits']) lab.async(name, { lock: unnamed }).schedule();
    const journal = new Mutex({ name: 'journal' });
    for (const name of ['flush', 'append']) lab.async(name, { lock: journal }).schedule();
    lab.clock.tick(1);
    void unnamed.enter();
    const { locks } = await sample();
    expect(
      locks.map(({ name, waiting, counters }) => [
        name.replace(/\d+/, 'N'),
        waiting,
        counters?.taken,
      ]),
    ).to.deep.equal([
      ['journal', 1, 1],
      ['Mutex #N', 2, 1],
      ['pool', 0, 1],
      ['pool', 0, 2],
    ]);
    expect(pools.map(({ name }) => name)).to.deep.equal(['pool', 'pool']);
    for (const waits of others) waits.destroy();
  });

  it('have those that code waits for, if it is the process-wide kernel', async () => {
    const module = new URL('../../../lib/observe/inspector/index.js', import.meta.url).href;
    // In a process of its own: other specs leave more locks than the page shows.
    const { out } = await runModule(`
      import { serveInspector } from ${JSON.stringify(module)};
      const { Kernel, Mutex } = kcont;
      const lock = new Mutex({ name: 'entered by code' });
      await lock.enter();
      void lock.enter();
      for (const options of [{ kernel: new Kernel() }, {}]) {
        const { port, close } = await serveInspector({ token: ${JSON.stringify(TOKEN)}, ...options });
        const origin = 'http://127.0.0.1:' + port;
        const headers = { origin, authorization: ${JSON.stringify(`Bearer ${TOKEN}`)}, 'content-type': 'application/json' };
        const answer = await fetch(origin + '/api/sample', { method: 'POST', body: '{}', headers });
        console.log(JSON.stringify((await answer.json()).locks.map(({ name, waiting }) => [name, waiting])));
      }
      process.exit();
    `);
    expect(out).to.deep.equal(['[]', '[["entered by code",1]]']);
  });

  it('tell of a lock with very many waiters that there are as many or more', async () => {
    const lock = new Mutex();
    const all = Array.from({ length: MOST_COUNTED + 2 }, () => lab.async('one', { lock }));
    for (const one of all) one.schedule();
    lab.clock.tick(1);
    const [found] = (await sample()).locks;
    expect([found?.waiting, found?.waiters.length]).to.deep.equal([MOST_COUNTED, 16]);
    for (const one of all) one.destroy();
  });

  it('have no text that is longer than a few lines, nor more holders than can be shown', async () => {
    const long = 'long '.repeat(50_000);
    const lock = new RWLock({ name: `lock ${long}` });
    const named = (name: string): KcontOptions => ({ name: `${name} ${long} end` });
    const wq = lab.kernel.acquire(lab.wq.prilow.priority, { name: `wq ${long}` });
    for (let n = 0; n < 100; n++)
      lab.async('reads', { wq, lock: lock.read, options: named(`read ${n}`) }).schedule();
    lab.clock.tick(1);
    lab.async('writes', { wq, lock: lock.write, options: named('write') }).schedule();
    lab.clock.tick(1);
    const { status, body } = await ask();
    expect(status).to.equal(200);
    // 100 runs with four texts each.
    expect(body.length).to.be.below(200_000);
    const found = JSON.parse(body.toString()) as Sample;
    const [first] = found.runs;
    expect(first?.name).to.match(/^read 0 long long .*…/);
    expect(first?.name).to.match(/long  end$/);
    expect(first?.name).to.have.length(200);
    const seen = found.locks.find(({ name }) => name.startsWith('lock long'));
    expect([seen?.holders.length, seen?.holding]).to.deep.equal([16, 100]);
    const list = await ask({ path: '/api/continuations' });
    expect(list.body.length).to.be.below(200_000);
    expect(list.body.toString()).to.include('long  end"');
  });

  it('are every continuation, in slices', async () => {
    for (let n = 0; n < 300; n++) {
      new Kcont(lab.wq.prilow, null, () => undefined, n, { name: `timer ${n % 3}` }).schedule(
        n + 1,
      );
    }
    const { body, headers } = await ask({ path: '/api/continuations' });
    expect(headers['content-type']).to.equal('application/x-ndjson');
    const found = new Continuations();
    for (const line of body.toString().trim().split('\n')) found.add(JSON.parse(line));
    expect([found.rows.length, found.total, found.isComplete]).to.deep.equal([300, 300, true]);
    const [first] = found.select('', 'urgency', true);
    expect(found.entry(first as number)).to.deep.include({
      name: 'timer 0',
      state: 'pending',
      waitsFor: null,
      workqueue: 'prilow',
      deadlineMs: 1,
      lateMs: 0,
      ref: 1,
    });
  });

  it('wait for a page that does not read them for a bounded time, and then go to others', async () => {
    // Long enough for requests that are not stalled, on a busy machine.
    const { lost, destroy } = await stallAt({ stallMs: 1000 });
    await lost;
    const { status, body } = await ask({ path: '/api/continuations' });
    expect(status).to.equal(200);
    expect(body.toString().trimEnd().split('\n').at(-1)).to.match(/^\{"count":100000,/);
    destroy();
  });

  it('go to another page that asks, if one has taken long to read them', async () => {
    const { lost, destroy } = await stallAt({ listMs: 0 });
    const { status, body } = await ask({ path: '/api/continuations' });
    expect(status).to.equal(200);
    expect(body.toString().trimEnd().split('\n').at(-1)).to.match(/^\{"count":100000,/);
    await lost;
    destroy();
  });

  it('are refused to another page as long as one has not taken long', async () => {
    const { destroy } = await stallAt({});
    const { status, headers } = await ask({ path: '/api/continuations' });
    expect([status, headers['retry-after']]).to.deep.equal([429, '1']);
    destroy();
  });

  it('are made for one page at a time', async () => {
    const answers = await Promise.all(
      [1, 2, 3].map(() => statusOf({ path: '/api/continuations' })),
    );
    expect(answers).to.include(200);
    expect(answers.every((status) => status === 200 || status === 429)).to.equal(true);
    expect(await statusOf({ path: '/api/continuations' })).to.equal(200);
  });

  it('are the records of runs that the page does not have', async () => {
    const { kernel, clock } = lab;
    const history = new RunHistory();
    const read = async (): Promise<string[]> => {
      const body = JSON.stringify(history.cursor);
      const { body: bytes } = await ask({ path: '/api/records', body });
      history.add(new Uint8Array(bytes).buffer, 10_000);
      return history.runs.map(({ name }) => name);
    };
    expect(await read()).to.deep.equal([]);
    const kc = new Kcont(kernel.wq.softclock, null, () => undefined, 0, { name: 'tick' });
    kc.schedule(5);
    clock.tick(10);
    expect(await read()).to.deep.equal(['tick']);
    expect(await read()).to.deep.equal(['tick']);
    kc.schedule(5);
    clock.tick(10);
    expect(await read()).to.deep.equal(['tick', 'tick']);
    expect(history.nowMs).to.equal(clock.now);
  });

  it('are those of the flight recorder if it is running', async () => {
    await inspector.close();
    const { kernel } = await import('../../../lib/index.ts');
    using observation = observe({ record: { onException: false } });
    await new Promise((resolve) => {
      new Kcont(kernel.wq.prilow, null, resolve, 0, { name: 'recorded before' }).schedule();
    });
    expect(observation.recording).to.not.equal(null);
    inspector = await serveInspector({ token: TOKEN });
    const history = new RunHistory();
    const { body } = await ask({ path: '/api/records' });
    history.add(new Uint8Array(body).buffer, 10_000);
    expect(history.runs.map(({ name }) => name)).to.include('recorded before');
  });
});

/** A page that has asked for a list which is larger than all buffers, and does not read it. */
interface Stalled {
  /** Resolves when the server has ended the connection. */
  readonly lost: Promise<void>;
  readonly destroy: () => void;
}

/** Replaces the inspector by one with other limits, of which a page has asked a list that it does not read. */
async function stallAt(limits: Limits): Promise<Stalled> {
  const timers = Array.from({ length: 100_000 }, (_, n) => {
    const name = `timer ${n} ${'x'.repeat(180)}`;
    const timer = new Kcont(lab.wq.prilow, null, () => undefined, n, { name });
    timer.schedule(n + 1);
    return timer;
  });
  await inspector.close();
  const guard = new Guard('127.0.0.1', [], TOKEN);
  const server = new InspectorServer(observerOf(lab.kernel), guard, limits);
  const port = await server.listen(0, '127.0.0.1');
  inspector = { ...inspector, port, close: () => server.close() };
  const accepted = acceptedAt(port);
  const page = connect(port, '127.0.0.1');
  page.on('error', () => undefined);
  page.write(
    `POST /api/continuations HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\norigin: http://127.0.0.1:${port}\r\n` +
      `authorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}`,
  );
  // The answer has begun.
  await once(page, 'readable');
  const socket = await accepted;
  const lost = new Promise<void>((resolve) => {
    if (socket.destroyed) resolve();
    else socket.on('close', () => resolve());
  });
  const destroy = (): void => {
    page.destroy();
    // Other specs list what all kernels have in hand.
    for (const timer of timers) timer.destroy();
  };
  return { lost, destroy };
}

/** The next connection that the server of a port accepts. */
function acceptedAt(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const note = (message: unknown): void => {
      const { socket } = message as { socket: Socket };
      if (socket.localPort !== port) return;
      unsubscribe('net.server.socket', note);
      resolve(socket);
    };
    subscribe('net.server.socket', note);
  });
}

/** A sample is sent again for 400 ms of the host's time. */
function waitForFreshSample(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 450);
  });
}

import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Kcont, Kernel, Mutex, RWLock, Scope, VirtualClock } from '../../../lib/index.ts';
import { Client } from '../../../lib/observe/socket/client.ts';
import { nothing } from '../../../lib/base/nothing.ts';
import { findSockets } from '../../../lib/observe/socket/socket-path.ts';
import { list, observe, type Observation } from '../../support/observe.ts';
import { codeOf, settled } from '../../support/lab.ts';

type Json = Record<string, unknown> & { readonly type: string };

const { KCONT_SOCKETS: before } = process.env;
let parent = '';
let folder = '';
const started: Observation[] = [];
const sockets: Socket[] = [];

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'sockets-'));
  folder = join(parent, 'own');
  process.env['KCONT_SOCKETS'] = folder;
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const observation of started.splice(0)) observation.stop();
  if (before === undefined) delete process.env['KCONT_SOCKETS'];
  else process.env['KCONT_SOCKETS'] = before;
  rmSync(parent, { recursive: true });
});

function open(): Observation {
  const observation = observe({ socket: true });
  started.push(observation);
  return observation;
}

function pathOf(): string {
  return join(folder, readdirSync(folder)[0] as string);
}

async function connected(): Promise<Socket> {
  const socket = createConnection(pathOf());
  sockets.push(socket);
  await once(socket, 'connect');
  return socket.setEncoding('utf8');
}

/** Reads lines until one has the type `end` or `error`. Other specs may have left any number of continuations. */
async function answer(socket: Socket): Promise<Json[]> {
  const all: Json[] = [];
  let text = '';
  while (!['end', 'error'].includes(all.at(-1)?.type ?? '')) {
    const [chunk] = (await once(socket, 'data')) as [string];
    const lines = (text + chunk).split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) all.push(JSON.parse(line) as Json);
  }
  return all;
}

function ask(socket: Socket, request: unknown): Promise<Json[]> {
  socket.write(`${typeof request === 'string' ? request : JSON.stringify(request)}\n`);
  return answer(socket);
}

const isWindows = process.platform === 'win32';

describe('observe({ socket: true })', function () {
  before_each_skip_on_windows(this);

  it('creates a socket for its user alone, and removes it', async () => {
    const observation = open();
    expect(lstatSync(folder).mode & 0o777).to.equal(0o700);
    const [name = ''] = readdirSync(folder);
    expect(name).to.match(new RegExp(`^${process.pid}\\.${threadId}\\.[0-9a-f]{16}\\.sock$`));
    expect(lstatSync(join(folder, name)).mode & 0o777).to.equal(0o600);
    expect(lstatSync(join(folder, name)).isSocket()).to.equal(true);
    observation.stop();
    await settled();
    expect(readdirSync(folder)).to.deep.equal([]);
  });

  it('has one socket for all observations of a thread, until the last ends', async () => {
    const first = open();
    const second = open();
    expect(readdirSync(folder)).to.have.length(1);
    first.stop();
    first.stop();
    await settled();
    expect(readdirSync(folder)).to.have.length(1);
    second.stop();
    await settled();
    expect(readdirSync(folder)).to.deep.equal([]);
  });

  it('has none by default', () => {
    observe().stop();
    observe({ socket: false }).stop();
    expect(existsSync(folder)).to.equal(false);
  });

  it('refuses a folder that others could change, and a link', () => {
    mkdirSync(folder);
    chmodSync(folder, 0o755);
    expect(codeOf(() => observe({ socket: true }))).to.equal('EPERM');
    rmSync(folder, { recursive: true });
    const elsewhere = join(parent, 'elsewhere');
    mkdirSync(elsewhere, { mode: 0o700 });
    symlinkSync(elsewhere, folder);
    expect(codeOf(() => observe({ socket: true }))).to.equal('EPERM');
    expect(readdirSync(elsewhere)).to.deep.equal([]);
    rmSync(folder);
    writeFileSync(folder, '');
    expect(codeOf(() => observe({ socket: true }))).to.equal('EPERM');
    rmSync(folder);
    mkdirSync(folder, { mode: 0o700 });
    chmodSync(parent, 0o777);
    expect(codeOf(() => observe({ socket: true }))).to.equal('EPERM');
    chmodSync(parent, 0o1777);
    expect(codeOf(() => open())).to.equal('none');
  });

  it('refuses a folder that does not exist, or whose path is too long for a socket', () => {
    process.env['KCONT_SOCKETS'] = join(parent, 'no', 'such');
    expect(() => observe({ socket: true })).to.throw('it cannot be created, ENOENT');
    process.env['KCONT_SOCKETS'] = join(parent, 'n'.repeat(100));
    expect(() => observe({ socket: true })).to.throw('paths of over 103 bytes');
  });

  it('removes the sockets of processes that are gone, and no others', async () => {
    mkdirSync(folder, { mode: 0o700 });
    const alive = join(folder, `1.0.${'a'.repeat(16)}.sock`);
    const dead = join(folder, `2.0.${'b'.repeat(16)}.sock`);
    const other = join(folder, 'unrelated.sock');
    const server = createServer().listen(alive);
    // A socket that nobody listens on: bound by a server that is closed without being removed.
    const gone = createServer().listen(join(folder, 'temporary'));
    await once(gone, 'listening');
    const { linkSync } = await import('node:fs');
    linkSync(join(folder, 'temporary'), dead);
    gone.close();
    writeFileSync(other, '');
    open();
    while (existsSync(dead)) await settled();
    expect(existsSync(alive)).to.equal(true);
    expect(existsSync(other)).to.equal(true);
    expect(findSockets().map(({ pid }) => pid)).to.deep.equal([1, process.pid]);
    server.close();
    await once(server, 'close');
  });

  it('answers with the kernels and all they have in hand', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    list(kernel);
    const lock = new Mutex({ name: 'journal' });
    const scope = new Scope();
    const { prilow } = kernel.wq;
    new Kcont(prilow, lock, () => new Promise(() => {}), 0, { name: 'flush' }).schedule();
    clock.tick(1);
    new Kcont(prilow, lock, () => undefined, 0, { name: 'append', scope }).schedule();
    new Kcont(prilow, null, () => undefined, 0, { name: 'idle' }).schedule(1000);
    clock.tick(1);
    open();
    const socket = await connected();
    const lines = await ask(socket, { kcont: 1, get: 'tree' });
    expect(lines[0]).to.include({ type: 'process', pid: process.pid, node: process.version });
    const header = lines.findLast((line) => line.type === 'kernel' && line['nowMs'] === 2);
    expect(header).to.include({ pending: 1, queued: 1, running: 1 });
    const own = lines.filter(
      ({ type, kernel: of }) => type === 'entry' && of === header?.['kernel'],
    );
    expect(own.map((line) => line['name'])).to.deep.equal(['flush', 'append', 'idle']);
    expect(own[1]).to.deep.include({
      waitsFor: 'lock',
      lock: 'journal',
      lockId: own[0]?.['lockId'],
      holders: [{ name: 'flush', id: own[0]?.['id'] }],
    });
    expect(own[1]?.['scope']).to.be.a('number');
    expect(lines.at(-1)).to.deep.equal({
      type: 'end',
      count: lines.filter(({ type }) => type === 'entry').length,
    });
    // The next request on the same connection.
    expect((await ask(socket, { kcont: 1, get: 'tree' })).at(-1)?.type).to.equal('end');
  });

  it('answers with what has happened since the last sample', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    list(kernel);
    const lock = new Mutex();
    open();
    const socket = await connected();
    const first = await ask(socket, { kcont: 1, get: 'sample' });
    expect(first[1]).to.include({ type: 'sample', intervalMs: 0, cpuMs: 0 });
    const { prilow } = kernel.wq;
    let end = (): void => undefined;
    const hold = (): Promise<void> => new Promise((resolve) => (end = resolve));
    const flush = new Kcont(prilow, lock, hold, 0, { name: 'flush' });
    flush.schedule();
    clock.tick(1);
    new Kcont(prilow, lock, () => undefined, 0, { name: 'append' }).schedule();
    clock.tick(7);
    const rowsOf = async (): Promise<Json[]> => {
      const [, sample] = await ask(socket, { kcont: 1, get: 'sample' });
      const rows = sample?.['rows'] as Json[];
      return rows.filter(
        ({ workqueue, name }) => workqueue === 'prilow' && name !== 'kcont/observe',
      );
    };
    const [flushed, waiting] = await rowsOf();
    expect(flushed).to.include({ name: 'flush', entered: 1, running: 1, waits: 0 });
    expect(waiting).to.include({ name: 'append', entered: 0, waits: 1 });
    end();
    await settled();
    clock.tick(1);
    const after = await rowsOf();
    expect(after).to.have.length(1);
    expect(after[0]).to.include({ name: 'append', entered: 1, waitMs: 7, waits: 0 });
    expect(await rowsOf()).to.deep.equal([]);
  });

  it('refuses bad requests, closes the connection, and goes on', async () => {
    open();
    const bad = [
      ['hello', 'a request must be a line of JSON'],
      ['null', 'a request must be an object'],
      ['[]', 'the version of a request must be 1'],
      ['{"kcont":2,"get":"tree"}', 'the version of a request must be 1'],
      ['{"kcont":1,"get":"stop"}', "'get' must be 'tree' or 'sample'"],
      ['{"kcont":1,"get":{"toString":1}}', "'get' must be 'tree' or 'sample'"],
      ['x'.repeat(2000), 'the request is too long'],
      [
        '{"kcont":1,"get":"tree"}\n{"kcont":1',
        'a request must wait for the end of the last answer',
      ],
    ] as const;
    for (const [request, message] of bad) {
      const socket = await connected();
      const closed = once(socket, 'close');
      expect(await ask(socket, request)).to.deep.equal([{ type: 'error', message }]);
      socket.end();
      await closed;
    }
    const socket = await connected();
    expect((await ask(socket, { kcont: 1, get: 'sample' })).at(-1)?.type).to.equal('end');
  });

  it('gives a client 30 s to ask and to take the answer, and over an hour until it asks again', async () => {
    const limits: number[] = [];
    const socket = new Duplex({ read: nothing, write: (_, __, done) => done() });
    Object.assign(socket, { setTimeout: (ms: number) => void limits.push(ms) });
    const client = new Client(socket as unknown as Socket, () => {});
    expect(limits).to.deep.equal([30_000]);
    socket.emit('data', '{"kcont":1,"get":"sample"}\n');
    await settled();
    expect(limits).to.deep.equal([30_000, 30_000, 3_630_000]);
    client.end();
  });

  it('gives a client that it has refused 30 s to read why, also after an answer', async () => {
    const limits: number[] = [];
    const socket = new Duplex({ read: nothing, write: (_, __, done) => done() });
    Object.assign(socket, { setTimeout: (ms: number) => void limits.push(ms) });
    const client = new Client(socket as unknown as Socket, () => {});
    socket.emit('data', '{"kcont":1,"get":"sample"}\n');
    await settled();
    socket.emit('data', 'hello\n');
    expect(limits).to.deep.equal([30_000, 30_000, 3_630_000, 30_000]);
    client.end();
  });

  it('sends no text that is longer than a few lines, nor more holders than can be shown', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    list(kernel);
    const long = 'long '.repeat(50_000);
    const lock = new RWLock({ name: `lock ${long}` });
    const wq = kernel.acquire(kernel.wq.prilow.priority, { name: `wq ${long}` });
    open();
    const socket = await connected();
    await ask(socket, { kcont: 1, get: 'sample' });
    for (let n = 0; n < 40; n++) {
      const name = `scan ${n} ${long}`;
      new Kcont(wq, lock.read, () => new Promise(() => {}), 0, { name }).schedule();
    }
    clock.tick(1);
    new Kcont(wq, lock.write, () => undefined, 0, { name: `append ${long}` }).schedule();
    clock.tick(1);
    const lines = await ask(socket, { kcont: 1, get: 'tree' });
    for (const line of lines) {
      if (line.type === 'entry') expect(JSON.stringify(line).length).to.be.below(10_000);
    }
    const append = lines.find(({ name }) => String(name).startsWith('append long'));
    expect(append?.['name']).to.have.length(200);
    expect(append?.['holders']).to.have.length(16);
    expect(append?.['holding']).to.equal(40);
    const [, sample] = await ask(socket, { kcont: 1, get: 'sample' });
    const rows = sample?.['rows'] as Json[];
    const own = rows.filter(({ name }) => String(name).startsWith('scan '));
    expect(own).to.have.length(40);
    for (const { name, workqueue } of own) {
      expect([name, workqueue].map((text) => String(text).length)).to.deep.equal([200, 200]);
    }
  });

  it('sends at most 1000 rows in a sample, of all kernels: those that took most time', async () => {
    open();
    const socket = await connected();
    const clocks = [new VirtualClock(), new VirtualClock()];
    const kernels = clocks.map((clock) => new Kernel({ clock }));
    for (const kernel of kernels) list(kernel);
    await ask(socket, { kcont: 1, get: 'sample' });
    const lock = new Mutex();
    expect(lock.tryEnter()).to.equal(true);
    for (const [index, { wq }] of kernels.entries()) {
      for (let n = 0; n < 700; n++) {
        const waits = n === 600 ? lock : null;
        new Kcont(wq.prilow, waits, () => undefined, n, { name: `${index} ${n}` }).schedule();
      }
    }
    for (const clock of clocks) clock.tick(5);
    lock.exit();
    for (const clock of clocks) clock.tick(1);
    const [, sample] = await ask(socket, { kcont: 1, get: 'sample' });
    const rows = sample?.['rows'] as Json[];
    expect(rows).to.have.length(1000);
    expect(rows.slice(0, 2).map(({ name }) => name)).to.have.members(['0 600', '1 600']);
  });

  it('refuses a request without an end before it is long, and keeps nothing of it', async () => {
    open();
    const socket = await connected();
    socket.write('y'.repeat(1025));
    expect(await answer(socket)).to.deep.equal([
      { type: 'error', message: 'the request is too long' },
    ]);
  });

  it('serves eight clients, and tells the ninth', async () => {
    open();
    for (let n = 0; n < 8; n++) {
      expect((await ask(await connected(), { kcont: 1, get: 'sample' })).at(-1)?.type).to.equal(
        'end',
      );
    }
    const accepted: Socket[] = [];
    const note = (message: unknown): void =>
      void accepted.push((message as { socket: Socket }).socket);
    subscribe('net.server.socket', note);
    const ninth = await connected();
    expect(await answer(ninth)).to.deep.equal([
      { type: 'error', message: 'it has too many clients' },
    ]);
    unsubscribe('net.server.socket', note);
    // It may neither read nor close: it has its place in the process for a while only.
    expect(accepted.map(({ timeout }) => timeout)).to.deep.equal([30_000]);
    accepted[0]?.emit('timeout');
    expect(accepted[0]?.destroyed).to.equal(true);
  });

  it('writes no faster than a client reads, and survives one that goes away', async () => {
    const kernel = new Kernel({ clock: new VirtualClock() });
    list(kernel);
    for (let n = 0; n < 5000; n++)
      new Kcont(kernel.wq.prilow, null, () => undefined, 0).schedule(1000);
    open();
    const slow = await connected();
    slow.pause();
    slow.write('{"kcont":1,"get":"tree"}\n');
    for (let n = 0; n < 20; n++) await settled();
    slow.destroy();
    const lines = await ask(await connected(), { kcont: 1, get: 'tree' });
    expect(lines.filter(({ type }) => type === 'entry').length).to.be.at.least(5000);
  });
});

function before_each_skip_on_windows(suite: Mocha.Suite): void {
  suite.beforeAll(function () {
    if (!isWindows) return;
    console.log('SKIPPED sockets: this system has named pipes');
    this.skip();
  });
}

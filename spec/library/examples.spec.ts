import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'chai';
import { LineReader, MAX_LINE, parse } from '../../examples/gateway/protocol.ts';
import { widthOf } from '../../examples/thumbnails/jpeg.ts';
import { Program } from '../support/example-program.ts';
import { ROOT } from '../support/root.ts';

/** A client that plays a device. */
class Typist {
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  constructor(port: number) {
    this.#socket = connect(port, '127.0.0.1');
    this.#lines = createInterface({ input: this.#socket })[Symbol.asyncIterator]();
  }

  say(text: string): void {
    this.#socket.write(text);
  }

  /** The next line of the gateway; undefined: it has closed the connection. */
  async hear(): Promise<string | undefined> {
    const { done, value } = await this.#lines.next();
    return done === true ? undefined : value;
  }

  close(): void {
    this.#socket.destroy();
  }
}

describe('examples/gateway', function () {
  this.timeout(60_000);

  describe('as a server', () => {
    let program: Program;
    let typist: Typist;

    beforeEach(async () => {
      program = new Program('gateway', '--serve');
      const [, port] = await program.printed(/on 127\.0\.0\.1 port (\d+)/);
      typist = new Typist(Number(port));
      expect(await typist.hear()).to.equal('READY');
    });

    afterEach(async () => {
      typist.close();
      program.signal('SIGKILL');
      await program.ended();
      const history = /Readings go to (.+)$/m.exec(program.stdout)?.[1];
      if (history !== undefined) await rm(dirname(history), { recursive: true });
    });

    it('answers its clients, and drains on SIGTERM', async () => {
      typist.say('PING early\r\n');
      expect(await typist.hear()).to.equal('PONG early');
      typist.say('DATA 0 too soon\n');
      expect(await typist.hear()).to.equal('ERR expected HELLO <id> first');
      typist.say('HELLO ther');
      typist.say('mometer-7\n');
      expect(await typist.hear()).to.equal('WELCOME thermometer-7');
      expect(await typist.hear()).to.equal('CMD 1 calibrate');
      typist.say('ACK 1\nDATA 0 21.5\nDATA 1 21.6\nDATA 2 21.6\n');
      expect(await typist.hear()).to.equal('ACK 2');
      typist.say(`\u0000\u00ff\n${'x'.repeat(100_000)}\nDATA nothing\nHELLO again\n`);
      expect(await typist.hear()).to.equal('ERR unprintable bytes');
      expect(await typist.hear()).to.equal('ERR line too long');
      expect(await typist.hear()).to.equal('ERR expected DATA <seq> <text>');
      expect(await typist.hear()).to.equal('ERR this is thermometer-7 already');

      program.signal('SIGTERM');
      expect(await typist.hear()).to.equal('BYE shutdown');
      expect(await typist.hear()).to.equal(undefined);
      const { code, stdout, stderr } = await program.ended();
      expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
      expect(stdout).to.match(/3 readings stored, 0 lost; 0 connections cut by force/);
      expect(stdout).to.match(/continuations withdrawn: none/);
      expect(stdout).to.match(/continuations unfinished: none/);
    });

    it('prints the link of an inspector, which shows its continuations', async () => {
      typist.say('HELLO seen\n');
      expect(await typist.hear()).to.equal('WELCOME seen');
      const [, origin = '', token] = await program.printed(/Inspector: (http:.*)\/#token=(.*)$/m);
      const answer = await fetch(`${origin}/api/continuations`, {
        method: 'POST',
        headers: { origin, authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: '{}',
      });
      expect(answer.status).to.equal(200);
      expect(await answer.text()).to.include('heartbeat');
    });

    it('sends a command again until it is acknowledged', async () => {
      typist.say('HELLO deaf\n');
      const heard = [await typist.hear(), await typist.hear(), await typist.hear()];
      expect(heard).to.deep.equal(['WELCOME deaf', 'CMD 1 calibrate', 'CMD 1 calibrate']);
    });

    it('acknowledges what came before BYE, and answers BYE last', async () => {
      typist.say('HELLO brief\nACK 1\nDATA 0 x\nBYE\n');
      expect(await typist.hear()).to.equal('WELCOME brief');
      expect(await typist.hear()).to.equal('ACK 0');
      expect(await typist.hear()).to.equal('BYE bye');
      expect(await typist.hear()).to.equal(undefined);
    });
  });

  describe('its command line', () => {
    const wrong: readonly (readonly [string, RegExp])[] = [
      ['--device 3', /Unknown option '--device'/],
      ['--devices few', /--devices must be a whole number from 10 to 20000, got few/],
      ['--devices 9', /--devices must be a whole number from 10 to 20000, got 9/],
      ['--seconds 5', /--seconds must be a whole number from 6 to 600, got 5/],
      ['--serve --port 65536', /--port must be a whole number from 0 to 65535, got 65536/],
      ['--port 80', /--port goes with --serve only/],
      ['--serve --devices 9', /--devices must be a whole number from 10 to 20000, got 9/],
      ['--serve --seconds 20', /--seconds does not go with --serve/],
      ['now', /Unexpected argument 'now'/],
    ];
    for (const [args, message] of wrong) {
      it(`refuses ${args}, and prints the usage`, async () => {
        const { code, stderr } = await new Program('gateway', ...args.split(' ')).ended();
        expect(code).to.equal(2);
        expect(stderr)
          .to.match(message)
          .and.to.match(/^Usage: npm start/m);
      });
    }

    it('prints its usage on request', async () => {
      const { code, stdout } = await new Program('gateway', '--help').ended();
      expect(code).to.equal(0);
      expect(stdout).to.match(/^Usage: npm start/);
    });

    it('reports that the port is in use', async () => {
      const other = createServer().listen(0, '127.0.0.1');
      await once(other, 'listening');
      const { port } = other.address() as AddressInfo;
      const { code, stderr } = await new Program(
        'gateway',
        '--serve',
        '--port',
        String(port),
      ).ended();
      other.close();
      expect(code).to.equal(1);
      expect(stderr).to.match(/EADDRINUSE/);
    });
  });

  describe('its protocol', () => {
    const stream = `PING\r\n\n${'y'.repeat(MAX_LINE)}\n${'z'.repeat(MAX_LINE + 3)}\nBYE\n`;
    const lines = ['PING', '', 'y'.repeat(MAX_LINE), 'too long', 'BYE'];

    for (const size of [1, 2, 3, 7, MAX_LINE, MAX_LINE + 1, 10_000]) {
      it(`reads the same lines in chunks of ${size} bytes`, () => {
        const read: string[] = [];
        const reader = new LineReader(
          (line) => read.push(line),
          () => read.push('too long'),
        );
        for (let i = 0; i < stream.length; i += size) reader.push(stream.slice(i, i + size));
        expect(read).to.deep.equal(lines);
      });
    }

    it('understands every kind of packet', () => {
      expect(parse('HELLO a.b-7')).to.deep.equal({ kind: 'HELLO', id: 'a.b-7' });
      expect(parse('DATA 12 a b')).to.deep.equal({ kind: 'DATA', seq: 12, text: 'a b' });
      expect(parse('PING')).to.deep.equal({ kind: 'PING', token: '' });
      expect(parse('PONG 3')).to.deep.equal({ kind: 'PONG', number: 3 });
      expect(parse('ACK 3')).to.deep.equal({ kind: 'ACK', number: 3 });
      expect(parse('BYE')).to.deep.equal({ kind: 'BYE' });
    });

    it('treats everything else as malformed', () => {
      const rubbish = [
        '',
        ' ',
        'hello a',
        'HELLO',
        'HELLO a b',
        'DATA 1',
        'DATA -1 x',
        'DATA 1e3 x',
      ];
      rubbish.push('PONG', 'ACK 1.5', 'ACK 9999999999999999', 'PING \u0007', 'GET / HTTP/1.1');
      expect(rubbish.map((line) => parse(line).kind)).to.deep.equal(rubbish.map(() => 'malformed'));
    });
  });
});

describe('examples/thumbnails', function () {
  this.timeout(180_000);

  describe('as a service', () => {
    let program: Program;
    let origin: string;

    beforeEach(async () => {
      program = new Program('thumbnails', '--serve', '--affinity', 'strong');
      origin = (await program.printed(/^(http:\/\/127\.0\.0\.1:\d+)\//m))[1] as string;
    });

    afterEach(async () => {
      program.signal('SIGKILL');
      await program.ended();
    });

    it('makes thumbnails, keeps a client on its CPU, delays prefetches, and drains', async () => {
      const page = await fetch(origin);
      expect(await page.text()).to.include('"photo-17"');
      const cpus: (string | null)[] = [];
      for (const width of [40, 41, 42]) {
        const answer = await fetch(`${origin}/photos/photo-3?client=ann&width=${width}`);
        expect(answer.headers.get('content-type')).to.equal('image/jpeg');
        expect(widthOf(new Uint8Array(await answer.arrayBuffer()))).to.equal(width);
        cpus.push(answer.headers.get('x-cpu'));
      }
      expect(new Set(cpus).size, cpus.join()).to.equal(1);
      expect((await fetch(`${origin}/photos/nobody?width=40`)).status).to.equal(404);
      expect((await fetch(`${origin}/photos/photo-3?width=-1`)).status).to.equal(400);

      const ahead = await Promise.all(
        Array.from({ length: 12 }, (_, i) =>
          fetch(`${origin}/photos/photo-4?client=bob&width=${300 + i}`, {
            headers: { 'sec-purpose': 'prefetch' },
          }),
        ),
      );
      const putOff = ahead.filter(({ status }) => status === 503);
      expect(ahead.filter(({ status }) => status === 200)).not.to.have.length(0);
      expect(putOff).not.to.have.length(0);
      expect(putOff.map(({ headers }) => headers.get('retry-after'))).to.deep.equal(
        putOff.map(() => '1'),
      );
      const { counts } = (await (await fetch(`${origin}/stats`)).json()) as { counts: object };
      expect(counts).to.include({ urgent: 3, refused: putOff.length, failed: 0 });

      program.signal('SIGTERM');
      const { code, stdout, stderr } = await program.ended();
      expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
      expect(stdout).to.match(/^unfinished: none$/m);
    });
  });

  for (const [args, message] of [
    ['--second 3', /Unknown option '--second'/],
    ['--seconds 2', /--seconds must be a whole number from 3 to 60, got 2/],
    ['--affinity some', /--affinity must be strong, weak or none, got some/],
  ] as const) {
    it(`refuses ${args}, and prints the usage`, async () => {
      const { code, stderr } = await new Program('thumbnails', ...args.split(' ')).ended();
      expect(code).to.equal(2);
      expect(stderr)
        .to.match(message)
        .and.to.match(/^Usage: /m);
    });
  }

  it('reads no width from data that is not a JPEG', () => {
    const files = [
      [],
      [0xff, 0xd8],
      [0x89, 0x50, 0x4e, 0x47, 0, 0],
      [0xff, 0xd8, 0xff, 0xe0, 0, 2],
    ];
    expect(files.map((bytes) => widthOf(Uint8Array.from(bytes)))).to.deep.equal([0, 0, 0, 0]);
  });
});

describe('examples/detective', function () {
  this.timeout(60_000);

  it('finds each of five mistakes, as its README shows', async () => {
    const readme = readFileSync(join(ROOT, 'examples/detective/README.md'), 'utf8');
    const shown = /```\n(?<output>the memory grows\n[^`]*)```/.exec(readme)?.groups?.['output'];
    const { code, stdout, stderr } = await new Program('detective').ended();
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(stdout.trim()).to.equal(shown?.trim());
  });

  it('refuses arguments, and prints the usage', async () => {
    const { code, stderr } = await new Program('detective', 'now').ended();
    expect(code).to.equal(2);
    expect(stderr).to.match(/^Usage: node build\/examples\/detective\/main\.js/);
  });
});

describe('examples/heartbeat', function () {
  this.timeout(60_000);

  it('refuses unknown arguments, and prints the usage', async () => {
    const { code, stderr } = await new Program('heartbeat', '--seconds', '1').ended();
    expect(code).to.equal(2);
    expect(stderr)
      .to.match(/--seconds must be a number from 2 to 60/)
      .and.to.match(/^Usage: /m);
  });
});

import { inspect } from 'node:util';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { KcontError, Kernel, VirtualClock } from '../../lib/index.ts';
import { durable, memory, type Durable, type StandardSchema } from '../../lib/durable/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';

/** The code of the error that a call throws or is rejected with; undefined: none. */
async function codeOf(call: () => unknown): Promise<string | undefined> {
  try {
    await call();
    return undefined;
  } catch (error) {
    expect(error).to.be.an.instanceof(KcontError);
    return (error as KcontError).code;
  }
}

/** A schema as zod and valibot make them. */
function schema<T>(test: (value: unknown) => value is T): StandardSchema<T> {
  return {
    '~standard': {
      version: 1,
      vendor: 'spec',
      validate: (value) =>
        test(value)
          ? { value }
          : { issues: [{ message: 'is wrong', path: ['to', { key: 0 }] }, { message: 'no' }] },
    },
  };
}

describe('durable()', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let jobs: Durable;
  let errors: string[];

  beforeEach(async () => {
    clock = new VirtualClock();
    errors = [];
    kernel = new Kernel({
      clock,
      onError: (error, kc) => errors.push(`${kc.name}: ${String(error)}`),
    });
    jobs = await durable({ backend: memory(), node: 'a', kernel });
  });

  afterEach(async () => {
    const closed = jobs.close();
    await clock.advance(6000);
    await closed;
  });

  describe('bad input', () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    const deep = JSON.parse(`${'['.repeat(101)}${']'.repeat(101)}`) as unknown;
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const notJson: Record<string, unknown> = {
      'a function': () => undefined,
      'a symbol': Symbol('x'),
      'a bigint': 1n,
      NaN: NaN,
      Infinity,
      'minus zero': -0,
      'a Date': new Date(0),
      'a Map': new Map(),
      'an undefined property': { x: undefined },
      'a hole': Array.from({ length: 3 }).fill(0, 0, 1),
      'an array with properties': Object.assign([1], { x: 1 }),
      'an object with toJSON': { toJSON: () => 1 },
      'an object with a symbol': { [Symbol('x')]: 1 },
      'an instance of a class': new URL('file:///x'),
      'a cycle': cycle,
      'a deep array': deep,
      'a revoked proxy': proxy,
      'a throwing getter': {
        get x(): never {
          throw new Error('no');
        },
      },
      'a long text': 'x'.repeat(2 ** 20),
    };
    for (const [what, arg] of Object.entries(notJson)) {
      it(`refuses ${what} as an argument`, async () => {
        jobs.define('note', () => undefined);
        expect(await codeOf(() => jobs.kcont('x', 'note', arg))).to.equal('EINVAL');
        expect(await codeOf(() => jobs.kcont('x', 'note', { deep: [arg] }))).to.equal('EINVAL');
      });
    }

    it('refuses what has too many values without looking through all of them', () => {
      jobs.define('note', () => undefined);
      // 2^99 paths lead to the innermost.
      let twice: unknown = 1;
      for (let depth = 0; depth < 99; depth++) twice = [twice, twice];
      expect(() => jobs.kcont('x', 'note', twice)).to.throw(
        'arg must have at most 1048576 characters as JSON, got more',
      );
      const holes: unknown[] = [];
      holes.length = 2 ** 32 - 1;
      expect(() => jobs.kcont('x', 'note', holes)).to.throw('arg[0] must be a JSON value');
    });

    it('says where in the argument it is', () => {
      jobs.define('note', () => undefined);
      expect(() => jobs.kcont('x', 'note', { list: [1, { when: new Date(0) }] })).to.throw(
        'arg.list[1].when must be a JSON value, got an instance of Date',
      );
    });

    it('refuses names that cannot be stored', async () => {
      jobs.define('note', () => undefined);
      const ids = ['', 'x'.repeat(251), 'a\0b', '\uD800', 5, null];
      for (const id of ids) {
        expect(await codeOf(() => jobs.kcont(id as string, 'note', null))).to.equal('EINVAL');
      }
      for (const name of ['', 'x'.repeat(61), 'a b', 'a@b', 'kcont:x', 'ä', 7]) {
        expect(await codeOf(() => jobs.define(name as string, () => 0))).to.equal('EINVAL');
      }
      for (const lock of ['', 'x'.repeat(101), 'a\0b', 5]) {
        const options = { lock: lock as string };
        expect(await codeOf(() => jobs.kcont('x', 'note', null, options))).to.equal('EINVAL');
      }
      for (const node of ['', 'a b', 'a@b', 'x'.repeat(61)]) {
        expect(await codeOf(() => jobs.kcont('x', 'note', null, { node }))).to.equal('EINVAL');
      }
      expect(await codeOf(() => jobs.release(''))).to.equal('EINVAL');
    });

    it('refuses functions that are not defined here, and definitions of other nodes', async () => {
      const other = await durable({ kernel, node: 'other' });
      const theirs = other.define('note', () => undefined);
      expect(await codeOf(() => jobs.kcont('x', 'note', null))).to.equal('EINVAL');
      jobs.define('note', () => undefined);
      expect(await codeOf(() => jobs.kcont('x', theirs, null))).to.equal('EINVAL');
      expect(await codeOf(() => jobs.kcont('x', proxy as string, null))).to.equal('EINVAL');
      expect(await codeOf(() => jobs.stage(theirs, { id: String }))).to.equal('EINVAL');
      expect(await codeOf(() => jobs.define('note', () => undefined))).to.equal('EINVAL');
      expect(await codeOf(() => jobs.define('no', 5 as never))).to.equal('EINVAL');
      await other.close();
    });

    it('refuses workqueues of other kernels, and released ones', async () => {
      const foreign = new Kernel({ clock }).wq.prilow;
      expect(await codeOf(() => jobs.define('x', { wq: foreign }, () => 0))).to.equal('EINVAL');
      const released = kernel.acquire(50);
      released.release();
      expect(await codeOf(() => jobs.define('x', { wq: released }, () => 0))).to.equal('EINVAL');
    });

    it('refuses times that are no times, and changes nothing', async () => {
      jobs.define('note', () => undefined);
      const kc = jobs.kcont('x', 'note', null);
      for (const ms of [-1, NaN, Infinity, 2 ** 53, '5', null]) {
        expect(await codeOf(() => kc.schedule(ms as number))).to.equal('EINVAL');
        expect(await codeOf(() => kc.reset(ms as number))).to.equal('EINVAL');
        expect(await codeOf(() => kc.every(ms as number))).to.equal('EINVAL');
      }
      expect(await codeOf(() => kc.every(0.5))).to.equal('EINVAL');
      expect(await kc.state()).to.deep.equal({
        pending: false,
        running: false,
        invoking: false,
        parked: false,
        dueInMs: NaN,
        failed: 0,
        lastError: null,
      });
    });

    it('refuses a node without an affinity to it', async () => {
      jobs.define('note', () => undefined);
      const options = { node: 'a', affinity: 'none' } as const;
      expect(await codeOf(() => jobs.kcont('x', 'note', null, options))).to.equal('EINVAL');
    });

    it('refuses what the backend in memory cannot do', async () => {
      let thrown: unknown[] = [];
      jobs.define('note', async (_, call) => {
        thrown = [
          await codeOf(() => call.client),
          await codeOf(() => call.transaction(() => Promise.resolve())),
        ];
      });
      const client = { query: () => Promise.resolve({ rows: [], rowCount: 0 }) };
      const kc = jobs.kcont('x', 'note', null);
      expect(await codeOf(() => kc.schedule(0, { client }))).to.equal('ENOTSUP');
      expect(await codeOf(() => jobs.cron('x', '* * * * *', 'note', null))).to.equal('ENOTSUP');
      expect(await codeOf(() => jobs.cron('x', '* * *', 'note', null))).to.equal('EINVAL');
      await kc.schedule();
      await clock.advance(5);
      expect(thrown).to.deep.equal(['ENOTSUP', 'ENOTSUP']);
    });

    it('is refused after close, and on a kernel that is closed', async () => {
      await jobs.close();
      expect(await codeOf(() => jobs.define('x', () => 0))).to.equal('ESHUTDOWN');
      const closing = kernel.close();
      await clock.advance(1);
      await closing;
      expect(await codeOf(() => durable({ kernel }))).to.equal('ESHUTDOWN');
    });
  });

  describe('a schema', () => {
    const isText = (value: unknown): value is string => typeof value === 'string';

    it('checks the argument at the call', () => {
      jobs.define('note', { schema: schema(isText) }, () => undefined);
      expect(() => jobs.kcont('x', 'note', 5)).to.throw(
        KcontError,
        'arg of x does not fit its schema: to.0: is wrong; no',
      );
    });

    it('gives the function the value that it returns', async () => {
      const seen: number[] = [];
      const length: StandardSchema<number> = {
        '~standard': {
          version: 1,
          vendor: 'spec',
          validate: (value) => ({ value: String(value).length }),
        },
      };
      jobs.define('note', { schema: length }, (n) => void seen.push(n));
      await jobs.kcont<unknown>('x', 'note', 'four').schedule();
      await clock.advance(5);
      expect(seen).to.deep.equal([4]);
    });

    it('is applied before each run too: what does not fit fails without a retry', async () => {
      let isStrict = false;
      let runs = 0;
      const changed = schema((value): value is string => !isStrict || isText(value));
      jobs.define('note', { schema: changed, maxAttempts: 5 }, () => void runs++);
      const kc = jobs.kcont<unknown>('x', 'note', 5);
      await kc.schedule(10);
      isStrict = true;
      await clock.advance(20);
      expect(runs).to.equal(0);
      expect(errors).to.deep.equal([
        'x: KcontError: arg of x does not fit its schema: to.0: is wrong; no',
      ]);
      expect(await kc.state()).to.include({ pending: false, failed: 1 });
    });

    it('is refused if it is asynchronous, throws, or is none', async () => {
      const answering = (validate: () => unknown): StandardSchema<null> => ({
        '~standard': { version: 1, vendor: 'spec', validate: validate as never },
      });
      const { proxy, revoke } = Proxy.revocable({}, {});
      revoke();
      const bad: [string, () => unknown][] = [
        ['ENOTSUP', () => Promise.resolve({ value: null })],
        ['ENOTSUP', () => Promise.reject(new Error('too late'))],
        [
          'EINVAL',
          () => {
            throw new Error('no');
          },
        ],
        [
          'EINVAL',
          () => {
            throw proxy as Error;
          },
        ],
        ['EINVAL', () => null],
        ['EINVAL', () => ({ issues: 5 })],
      ];
      for (const [index, [code, validate]] of bad.entries()) {
        jobs.define(`note${index}`, { schema: answering(validate) }, () => undefined);
        expect(await codeOf(() => jobs.kcont('x', `note${index}`, null))).to.equal(code);
      }
      for (const none of [{ '~standard': { version: 2 } }, 5, null, proxy]) {
        const options = { schema: none as never };
        expect(await codeOf(() => jobs.define('none', options, () => undefined))).to.equal(
          'EINVAL',
        );
      }
    });
  });

  describe('errors', () => {
    it('of the last attempt go to onError of the definition, of the node, of the kernel', async () => {
      const fail = (): never => {
        throw new Error('no');
      };
      const seen: string[] = [];
      const own = await durable({
        kernel,
        node: 'own',
        onError: (_, call) => seen.push(`node ${call?.id}`),
      });
      own.define('plain', fail);
      own.define('defined', { onError: (_, call) => seen.push(`definition ${call.id}`) }, fail);
      jobs.define('plain', fail);
      await own.kcont('1', 'plain', null).schedule();
      await own.kcont('2', 'defined', null).schedule();
      await jobs.kcont('3', 'plain', null).schedule();
      await clock.advance(5);
      expect(seen.toSorted()).to.deep.equal(['definition 2', 'node 1']);
      expect(errors).to.deep.equal(['3: Error: no']);
      await own.close();
    });

    it('of an onError go to the kernel, and the run ends', async () => {
      const onError = (): never => {
        throw new Error('worse');
      };
      jobs.define('fail', { onError }, () => Promise.reject(new Error('no')));
      const kc = jobs.kcont('x', 'fail', null);
      await kc.schedule();
      await clock.advance(5);
      expect(errors).to.deep.equal(['x: Error: worse']);
      expect(await kc.state()).to.include({ running: false, lastError: 'Error: no' });
    });

    it('of the promise of an onError go to the kernel too', async () => {
      // oxlint-disable-next-line unicorn/no-thenable -- what it is about
      const hostile = Object.defineProperty({}, 'then', {
        get(): never {
          throw new Error('hostile');
        },
      });
      const handlers: (() => unknown)[] = [() => Promise.reject(new Error('later')), () => hostile];
      for (const [index, onError] of handlers.entries()) {
        jobs.define(`fail${index}`, { onError }, () => {
          throw new Error('no');
        });
        await jobs.kcont(`${index}`, `fail${index}`, null).schedule();
      }
      await clock.advance(5);
      expect(errors).to.deep.equal(['0: Error: later', '1: Error: hostile']);
    });

    it('include a promise on a soft workqueue', async () => {
      jobs.define('soft', { wq: 'softnet' }, () => Promise.resolve());
      await jobs.kcont('x', 'soft', null).schedule();
      await clock.advance(5);
      expect(errors).to.have.length(1);
      expect(errors[0]).to.match(/x on softnet returned a promise/);
    });
  });

  it('never lets a function that never settles keep others from running', async () => {
    const ran: string[] = [];
    jobs.define('never', () => new Promise(() => undefined));
    jobs.define('note', (text: string) => void ran.push(text));
    await jobs.kcont('never', 'never', null, { lock: 'mine' }).schedule();
    await jobs.kcont('waits', 'note', 'waits', { lock: 'mine' }).schedule();
    await jobs.kcont('runs', 'note', 'runs').schedule();
    await clock.advance(1000);
    expect(ran).to.deep.equal(['runs']);
    expect(await jobs.kcont('waits', 'note', '').state()).to.include({ pending: true });
  });

  it('enters functions behind urgent local work', async () => {
    const ran: string[] = [];
    jobs.define('low', { wq: 'prilow' }, () => void ran.push('durable'));
    await jobs.kcont('x', 'low', null).schedule();
    void kernel.wq.prihigh.run(() => void ran.push('local'));
    await clock.advance(5);
    expect(ran).to.deep.equal(['local', 'durable']);
  });

  it('forgets the oldest of more than 10,000 failures', async () => {
    jobs.define('fail', { onError: () => undefined }, () => {
      throw new Error('no');
    });
    const kc = (i: number) => jobs.kcont(`x${i}`, 'fail', null);
    for (let i = 0; i <= 10_000; i++) await kc(i).schedule();
    await clock.advance(1000);
    expect((await kc(0).state()).failed).to.equal(0);
    expect((await kc(1).state()).failed).to.equal(1);
    expect((await kc(10_000).state()).failed).to.equal(1);
  });

  it('drains, and is rejected with the reason of a signal', async () => {
    jobs.define(
      'wait',
      () => new Promise((resolve) => void kernel.wq.prilow.run(() => resolve(0), { delayMs: 50 })),
    );
    await jobs.drain();
    await jobs.kcont('x', 'wait', null).schedule();
    await clock.advance(1);
    const controller = new AbortController();
    const aborted = jobs.drain({ signal: controller.signal }).catch((error: unknown) => error);
    controller.abort('enough');
    expect(await aborted).to.equal('enough');
    const drained = jobs.drain();
    expect(jobs.running).to.equal(1);
    await clock.advance(100);
    await drained;
    expect(jobs.running).to.equal(0);
  });

  it('halts, and says that a run was in flight even if that run ends before the halt looks again', async () => {
    let end = (): void => undefined;
    const backend = memory();
    const own = await durable({
      kernel,
      node: 'own',
      backend: {
        caps: backend.caps,
        async open(host) {
          const node = await backend.open(host);
          return {
            handle: (handler) => node.handle(handler),
            schedule: (request, reset, client) => node.schedule(request, reset, client),
            stop: (id, client) => node.stop(id, client),
            touch: (id, client) => node.touch(id, client),
            ack: (id) => node.ack(id),
            state: (id) => node.state(id),
            parked: () => node.parked(),
            release: (id) => node.release(id),
            cron: (request) => node.cron(request),
            pause: () => node.pause(),
            close: () => node.close(),
            async drain(id, signal) {
              end();
              while ((await node.state(id)).running) await clock.advance(1);
              return node.drain(id, signal);
            },
          };
        },
      },
    });
    own.define('wait', () => new Promise<void>((resolve) => (end = resolve)));
    const kc = own.kcont('x', 'wait', null);
    expect(await kc.halt()).to.equal(false);
    await kc.schedule();
    await clock.advance(5);
    expect(await kc.halt()).to.equal(true);
    expect(await kc.state()).to.include({ running: false });
    await own.close();
  });

  it('is a stage of a pipeline, which stores the item before it passes it on', async () => {
    const ran: string[] = [];
    jobs.define('send', async (item: string, call) => {
      ran.push(`${item} as ${call.id}`);
      await new Promise<void>(
        (resolve) => void kernel.wq.prilow.run(() => resolve(), { delayMs: 10 }),
      );
    });
    const stage = jobs.stage<string>('send', {
      id: (item) => `send:${item}`,
      lock: () => 'one',
      delayMs: 5,
    });
    const site = pipeline<string>('site')
      .stage('parse', (text) => text.toUpperCase())
      .stage('send', stage)
      .start({ kernel });
    const passed = site.run('a');
    await clock.advance(1);
    expect(await passed).to.equal('A');
    expect(ran).to.deep.equal([]);
    await clock.advance(7);
    expect(ran).to.deep.equal(['A as send:A']);
    // The name is in use while the run is in flight.
    expect(await codeOf(() => stage('A'))).to.equal('EBUSY');
    const closed = site.close();
    await clock.advance(20);
    await closed;
  });

  it('shows what it is, without its insides', () => {
    const definition = jobs.define('note', () => undefined);
    expect(inspect(jobs)).to.equal('Durable a { 0 running }');
    expect(String(jobs.kcont('x', definition, 1, { lock: 'l' }))).to.equal(
      'DurableKcont x { note, lock l }',
    );
    expect(JSON.stringify(jobs.kcont('x', 'note', 1, { affinity: 'weak' }))).to.equal(
      '{"id":"x","handler":"note","lock":null,"node":"a","affinity":"weak"}',
    );
  });

  it('has defaults: the process-wide kernel, a name of its own, a backend in memory', async () => {
    await using other = await durable();
    expect(other.node).to.match(new RegExp(`^[\\w.:-]+:${process.pid}$`));
    expect(other.caps).to.include({ durable: false });
    const ran = new Promise((resolve) => void other.define('note', resolve));
    await other.kcont('x', 'note', 'hello').schedule(1);
    expect(await ran).to.equal('hello');
  });

  it('shows an invocation', async () => {
    let shown: unknown[] = [];
    jobs.define('note', (_, call) => {
      shown = [inspect(call), JSON.stringify(call)];
    });
    await jobs.kcont('x', 'note', null).schedule();
    await clock.advance(5);
    expect(shown).to.deep.equal([
      'Invocation x { note, attempt 1 }',
      '{"id":"x","handler":"note","attempt":1,"node":"a"}',
    ]);
  });
});

// What the program, the role, the database and the caller's pool have set: nothing of it may lose a run.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import pg, { Pool, types, type PoolConfig } from 'pg';
import { KcontError, Kernel } from '../../lib/index.ts';
import {
  durable,
  type Durable,
  type DurableClient,
  type DurableOptions,
} from '../../lib/durable/index.ts';
import { graphile, type PoolLike } from '../../lib/durable/graphile/index.ts';
import { Proxy as NetworkProxy } from '../support/chaos-cluster.ts';
import {
  DATABASE_URL,
  dropSchema,
  needsDatabase,
  newSchema,
  withClient,
} from '../support/database.ts';

describe('graphile() beside settings of others', function () {
  this.timeout(40_000);
  needsDatabase(this);
  const url = DATABASE_URL as string;
  let schema: string;
  let nodes: Durable[];
  let errors: string[];
  let undo: (() => unknown)[];

  beforeEach(() => {
    schema = newSchema();
    nodes = [];
    errors = [];
    undo = [];
  });

  afterEach(async () => {
    await Promise.all(nodes.map((jobs) => jobs.close({ graceMs: 0 })));
    for (const step of undo.toReversed()) await step();
    await dropSchema(schema);
  });

  async function node(
    name: string,
    connect: { pool: PoolLike } | { connectionString: string },
    options?: Partial<DurableOptions>,
  ): Promise<Durable> {
    const jobs = await durable({
      backend: graphile({ ...connect, schema }),
      node: name,
      kernel: new Kernel(),
      onError: (error) => errors.push(String(error)),
      ...options,
    });
    nodes.push(jobs);
    return jobs;
  }

  const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
    while (!(await condition())) await sleep(5);
  };

  function pool(config?: PoolConfig & { binary?: boolean }): Pool {
    const made = new Pool({ connectionString: url, ...config });
    made.on('error', () => undefined);
    undo.push(() => made.end());
    return made;
  }

  /** Tries each operation and each kind of run, with and without a client. */
  async function tryAll(jobs: Durable, other: Durable, client: DurableClient): Promise<void> {
    const ran: string[] = [];
    const both = { maxAttempts: 2, backoff: { baseMs: 5 } };
    for (const one of [jobs, other]) {
      one.define<{ text: string }>('note', both, async ({ text }, call) => {
        const { rows } = await call.client.query('select $1::text as text', [text]);
        if (text === 'retry' && call.attempt === 1) throw new Error('once');
        if (text === 'ack') expect(await call.ack()).to.equal(true);
        ran.push((rows[0] as { text: string }).text);
      });
    }
    const kc = (text: string, affinity: 'none' | 'weak' | 'strong' = 'none') =>
      jobs.kcont(text, 'note', { text }, { affinity, lock: 'one' });
    for (const options of [undefined, { client }]) {
      const far = kc('far');
      expect(await far.schedule(1e6, options)).to.equal(true);
      expect(await far.schedule(2e6, options)).to.equal(true);
      expect(await far.touch(options)).to.equal(true);
      const { dueInMs, ...state } = await far.state();
      expect(dueInMs).to.be.within(1.9e6, 2e6);
      expect(state).to.deep.equal({
        pending: true,
        running: false,
        invoking: false,
        parked: false,
        failed: 0,
        lastError: null,
      });
      expect(await far.cancel(options)).to.deep.equal({ withdrawn: true, running: false });
      expect(await far.cancel(options)).to.deep.equal({ withdrawn: false, running: false });
      expect(await far.touch(options)).to.equal(false);
      expect(await far.ack()).to.equal(false);
    }
    const affinities = { none: 'none', retry: 'none', ack: 'none', weak: 'weak', strong: 'strong' };
    for (const [text, affinity] of Object.entries(affinities)) {
      await kc(text, affinity as 'none').reset();
    }
    const ticks = kc('every');
    await ticks.every(20);
    await until(() => ran.filter((text) => text === 'every').length > 1);
    await ticks.halt();
    await until(() => Object.keys(affinities).every((text) => ran.includes(text)));
    expect(await jobs.parked()).to.deep.equal([]);
    expect(await jobs.release('far')).to.equal(false);
    await jobs.cron('yearly', '0 0 1 1 *', 'note', { text: 'never' }, { node: 'a' });
    const missing = jobs.cron('x', '* * * * *', 'note', { text: 'never' }, { node: 'nowhere' });
    expect(await missing.catch((error: KcontError) => error.code)).to.equal('ENOENT');
    expect(errors).to.deep.equal([]);
  }

  describe('type parsers', () => {
    /** Types that pg parses: booleans, numbers, JSON, times, and arrays. */
    const PARSED = [
      16, 20, 21, 23, 26, 114, 199, 700, 701, 1000, 1005, 1007, 1009, 1016, 1114, 1184,
    ];
    const OIDS = [...PARSED, 1700, 3802, 3807];

    for (const [what, parser] of [
      ['that return the text', (text: string) => text],
      ['that return a bigint', () => 5n],
      [
        'that throw',
        () => {
          throw new Error('no value');
        },
      ],
    ] as const) {
      it(`of the whole program do not matter: ${what}`, async () => {
        for (const oid of OIDS) {
          const before: (value: string) => unknown = types.getTypeParser(oid, 'text');
          types.setTypeParser(oid, 'text', parser);
          undo.push(() => types.setTypeParser(oid, 'text', before));
        }
        const own = pool();
        const jobs = await node('a', { connectionString: url });
        await tryAll(jobs, await node('b', { pool: own }), own);
      });
    }

    it('of a pool do not matter, nor do its binary results', async () => {
      const own = pool({ types: { getTypeParser: () => String }, binary: true });
      const jobs = await node('a', { pool: own });
      await tryAll(jobs, await node('b', { pool: own }), own);
    });

    it('of the default of pg do not matter, nor do its binary results', async () => {
      const { binary } = pg.defaults;
      pg.defaults.binary = true;
      undo.push(() => (pg.defaults.binary = binary as boolean));
      const own = pool();
      const jobs = await node('a', { connectionString: url });
      await tryAll(jobs, await node('b', { pool: own }), own);
    });
  });

  describe('a client that is none', () => {
    const broken: Record<string, unknown> = {
      'returns a number': () => 5,
      'returns undefined': () => undefined,
      throws: () => {
        throw new TypeError('no');
      },
      'returns an object whose then throws': () =>
        new Proxy(
          {},
          {
            get(): never {
              throw new Error('no');
            },
          },
        ),
    };
    for (const answer of [
      undefined,
      5,
      {},
      { rows: 5 },
      { rows: [] },
      { rows: [5] },
      { rows: [{}] },
    ]) {
      broken[`answers with ${JSON.stringify(answer)}`] = () => Promise.resolve(answer);
    }
    broken['answers with another row'] = () => Promise.resolve({ rows: [{ answer: 'x' }] });
    broken['answers with a row that cannot be read'] = () =>
      Promise.resolve({
        rows: [
          {
            get answer(): never {
              throw new Error('no');
            },
          },
        ],
      });

    it('is refused with EINVAL by every operation, and nothing has changed', async () => {
      const jobs = await node('a', { connectionString: url });
      jobs.define('note', () => undefined);
      const kc = jobs.kcont('x', 'note', null);
      await kc.schedule(1e6);
      for (const [what, query] of Object.entries(broken)) {
        const client = { query } as DurableClient;
        for (const operation of [
          () => kc.schedule(0, { client }),
          () => kc.reset(0, { client }),
          () => kc.every(5, { client }),
          () => kc.touch({ client }),
          () => kc.stop({ client }),
          () => kc.cancel({ client }),
        ]) {
          const error = await operation().catch((thrown: unknown) => thrown);
          expect(error, what).to.be.an.instanceof(KcontError).that.includes({ code: 'EINVAL' });
          expect(String(error)).to.match(/a client of pg/);
        }
        expect((await kc.state()).dueInMs).to.be.within(9e5, 1e6);
      }
    });

    it('passes on the error of a database', async () => {
      const jobs = await node('a', { connectionString: url });
      jobs.define('note', () => undefined);
      const refused = new Error('the database is closed');
      const client = { query: () => Promise.reject(refused) };
      const error = await jobs
        .kcont('x', 'note', null)
        .schedule(0, { client })
        .catch((thrown: unknown) => thrown);
      expect(error).to.equal(refused);
    });

    it('is refused with EINVAL as a pool too, also if its settings cannot be read', async () => {
      const own = pool();
      const fake = { query: () => 5, options: own.options } as unknown as PoolLike;
      const jobs = await node('a', { pool: fake });
      jobs.define('note', () => undefined);
      const kc = jobs.kcont('x', 'note', null);
      for (const operation of [() => kc.schedule(), () => kc.state(), () => jobs.parked()]) {
        const error = await operation().catch((thrown: unknown) => thrown);
        expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'EINVAL' });
      }
      const options = {
        get password(): never {
          throw new Error('no');
        },
      };
      expect(() => graphile({ pool: { query: own.query.bind(own), options } }))
        .to.throw(KcontError)
        .that.includes({ code: 'EINVAL' });
    });
  });

  describe('limits of a pool', () => {
    it('for connecting: a session waits as long as it is not cut off', async () => {
      const proxy = await NetworkProxy.start();
      undo.push(() => proxy.stop());
      const own = pool({ connectionString: proxy.url, connectionTimeoutMillis: 100 });
      const jobs = await node('a', { pool: own });
      const runs: string[] = [];
      // The retry is stored, and the statement executed, on connections that do not exist yet.
      const twice = { maxAttempts: 2, backoff: { baseMs: 0 } };
      jobs.define('note', twice, async (text: string, call) => {
        runs.push(`${text} ${call.attempt} ${call.crashes}`);
        if (call.attempt === 1) throw new Error('once');
        await call.client.query('select 1');
      });
      const other = await node('b', { connectionString: url });
      other.define('note', () => undefined);
      proxy.fill(true);
      for (let i = 0; i < 5; i++) {
        await other.kcont(`${i}`, 'note', `${i}`, { node: 'a' }).schedule();
      }
      await until(() => errors.length > 0);
      proxy.fill(false);
      await until(() => runs.length >= 10 && jobs.running === 0);
      const all = [0, 1, 2, 3, 4].flatMap((i) => [`${i} 1 0`, `${i} 2 0`]);
      expect(runs).to.have.members(all);
      expect(errors.join()).not.to.match(/was cut off/);
    });

    it('for waiting and for answers: the statements of the library have none', async () => {
      const own = pool({ connectionTimeoutMillis: 100, query_timeout: 150 });
      const jobs = await node('a', { pool: own }, { concurrency: 20 });
      let ran = 0;
      jobs.define('note', async (_: null, { transaction }) => {
        void transaction;
        ran++;
        await Promise.resolve();
      });
      // Whoever completes a run has to wait for this.
      await withClient(async (client) => {
        await client.query('begin');
        await client.query(`lock table ${schema}_worker._private_jobs in exclusive mode`);
        const scheduled = withClient(async (unlimited) => {
          for (let i = 0; i < 20; i++) {
            await jobs.kcont(`${i}`, 'note', null).schedule(0, { client: unlimited });
          }
        });
        await client.query('select pg_sleep(0.5)');
        await client.query('commit');
        await scheduled;
      });
      await until(() => ran >= 20);
      expect(ran).to.equal(20);
      // On a busy machine a connection may take longer than its limit, and is tried again.
      expect(errors.filter((error) => error !== 'Error: timeout expired')).to.deep.equal([]);
    });
  });

  describe('limits of a role', () => {
    const LIMITS = {
      statement_timeout: '100ms',
      lock_timeout: '100ms',
      idle_in_transaction_session_timeout: '100ms',
      idle_session_timeout: '100ms',
      transaction_timeout: '150ms',
      default_transaction_read_only: 'on',
      default_transaction_isolation: 'serializable',
    };

    /** A connection string for a role with a setting that is made when the node is up, and before. */
    async function limited(name: string, value: string): Promise<string | undefined> {
      const role = `${schema}_role`;
      const known = await withClient((client) =>
        client.query('select 1 from pg_settings where name = $1', [name]),
      );
      if (known.rowCount === 0) return undefined;
      await withClient((client) =>
        client.query(`create role ${role} login;
          grant create on database ${new URL(url).pathname.slice(1)} to ${role};
          grant create, usage on schema public to ${role};
          alter role ${role} set ${name} = '${value}'`),
      );
      undo.push(() =>
        withClient((client) => client.query(`drop owned by ${role} cascade; drop role ${role}`)),
      );
      const own = new URL(url);
      own.username = role;
      return own.href;
    }

    for (const [name, value] of Object.entries(LIMITS)) {
      it(`as ${name} = ${value}: runs longer than that are neither lost nor begun twice`, async () => {
        const connectionString = await limited(name, value);
        if (connectionString === undefined) return;
        const jobs = await node('a', { connectionString });
        const ran: string[] = [];
        jobs.define('note', async (text: string, call) => {
          ran.push(`${text} ${call.crashes}`);
          await sleep(300);
        });
        for (const text of ['x', 'y', 'z']) {
          await jobs.kcont(text, 'note', text, { lock: 'one' }).schedule();
        }
        await jobs.kcont('far', 'note', 'far').schedule(1e6);
        await until(async () => ran.length === 3 && jobs.running === 0);
        expect(ran.toSorted()).to.deep.equal(['x 0', 'y 0', 'z 0']);
        expect((await jobs.kcont('far', 'note', '').state()).pending).to.equal(true);
        expect(errors).to.deep.equal([]);
      });
    }

    for (const name of ['idle_in_transaction_session_timeout', 'transaction_timeout'] as const) {
      it(`as ${name}: it ends a transaction of a function, and nothing else`, async () => {
        const connectionString = await limited(name, LIMITS[name]);
        if (connectionString === undefined) return;
        const jobs = await node('a', { connectionString });
        const ended: unknown[] = [];
        const crashes: number[] = [];
        jobs.define('idle', async (_: null, call) => {
          crashes.push(call.crashes);
          await call
            .transaction(async (client) => {
              await sleep(400);
              await client.query('select 1');
            })
            .catch((error: unknown) => ended.push((error as { code?: unknown }).code));
          ended.push((await call.client.query('select 1 as one')).rows[0]);
        });
        jobs.define('wait', async (_: null, call) => {
          crashes.push(call.crashes);
          await sleep(800);
          ended.push(call.signal.aborted);
        });
        await jobs.kcont('x', 'wait', null).schedule();
        await jobs.kcont('y', 'idle', null).schedule();
        await until(() => ended.length >= 3);
        const code = name === 'transaction_timeout' ? '25P04' : '25P03';
        expect(ended).to.deep.equal([code, { one: 1 }, false]);
        expect([crashes, errors]).to.deep.equal([[0, 0], []]);
      });
    }

    it('as statement_timeout and lock_timeout: they apply to operations', async () => {
      const connectionString = await limited('statement_timeout', '100ms');
      const jobs = await node('a', { connectionString: connectionString as string });
      jobs.define('note', () => undefined);
      await withClient(async (client) => {
        await client.query('begin');
        await jobs.kcont('x', 'note', null).stop({ client });
        const error = await jobs
          .kcont('x', 'note', null)
          .schedule()
          .catch((thrown: unknown) => thrown);
        expect(error).to.include({ code: '57014' });
        await client.query('rollback');
      });
      expect(await jobs.kcont('x', 'note', null).schedule(1e6)).to.equal(true);
      expect(errors).to.deep.equal([]);
    });
  });
});

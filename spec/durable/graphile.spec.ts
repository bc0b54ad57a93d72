import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Pool } from 'pg';
import { KcontError, Kernel } from '../../lib/index.ts';
import {
  durable,
  type Durable,
  type DurableKcont,
  type DurableOptions,
} from '../../lib/durable/index.ts';
import { graphile, type GraphileOptions } from '../../lib/durable/graphile/index.ts';
import { NodeProcess, Proxy, createLog, readLog } from '../support/chaos-cluster.ts';
import type { NodeSettings, Work } from '../support/chaos-node.ts';
import {
  DATABASE_URL,
  dropSchema,
  needsDatabase,
  newSchema,
  withClient,
} from '../support/database.ts';
import { conform, type Cluster } from './conformance.suite.ts';

/** A cluster on PostgreSQL, in a schema of its own. */
function cluster(): Promise<Cluster> {
  const schema = newSchema();
  const backend = graphile({ connectionString: DATABASE_URL as string, schema });
  const nodes: Durable[] = [];
  return Promise.resolve({
    async node(name, options) {
      const jobs = await durable({ backend, node: name, kernel: new Kernel(), ...options });
      nodes.push(jobs);
      return jobs;
    },
    async until(condition) {
      // The clock of the database goes on by itself; the time limit is that of the spec.
      while (!(await condition())) await sleep(2);
    },
    settled: (promise) => promise,
    async end() {
      await Promise.all(nodes.map((jobs) => jobs.close({ graceMs: 0 })));
      await dropSchema(schema);
    },
  });
}

describe('PostgreSQL', function () {
  needsDatabase(this);
  conform('graphile()', cluster);
});

describe('graphile()', function () {
  this.timeout(40_000);
  needsDatabase(this);
  const url = DATABASE_URL as string;
  let schema: string;
  let nodes: Durable[];
  let processes: NodeProcess[];

  beforeEach(() => {
    schema = newSchema();
    nodes = [];
    processes = [];
  });

  afterEach(async () => {
    await Promise.all(processes.map((process) => process.kill()));
    await Promise.all(nodes.map((jobs) => jobs.close({ graceMs: 0 })));
    await dropSchema(schema);
  });

  async function node(name: string, options?: Partial<DurableOptions>): Promise<Durable> {
    const backend = graphile({ connectionString: url, schema });
    const jobs = await durable({ backend, node: name, kernel: new Kernel(), ...options });
    nodes.push(jobs);
    return jobs;
  }

  async function start(name: string, settings?: Partial<NodeSettings>): Promise<NodeProcess> {
    const own = { url, schema, node: name, livenessMs: 1000, shiftMs: 0, ...settings };
    const process = new NodeProcess(own);
    processes.push(process);
    await process.ready;
    return process;
  }

  /** Defines `work`, so that this process can schedule it; only other processes run it. */
  function scheduler(jobs: Durable): (id: string, arg: Work) => DurableKcont<Work> {
    jobs.define<Work>('work', { crashLimit: 3 }, () => undefined);
    return (id, arg) => jobs.kcont(id, 'work', arg, { lock: arg.lock, node: 'p' });
  }

  const until = async (condition: () => Promise<boolean>): Promise<void> => {
    while (!(await condition())) await sleep(5);
  };
  const hasLog = (id: string, event: string, run: RegExp): Promise<void> =>
    until(async () =>
      (await readLog(schema)).some(
        (line) => line.id === id && line.event === event && run.test(line.run),
      ),
    );

  /** Waits until a node has given some signs of life. */
  async function beats(name: string, count: number): Promise<void> {
    const sql = `select beat::text from ${schema}.nodes where name = $1`;
    await withClient(async (client) => {
      const beat = async (): Promise<unknown> => (await client.query(sql, [name])).rows[0];
      for (let i = 0; i < count; i++) {
        const last = JSON.stringify(await beat());
        await until(async () => JSON.stringify(await beat()) !== last);
      }
    });
  }

  describe('its schema', () => {
    it('is created once by nodes that start together', async () => {
      const all = await Promise.all(['a', 'b', 'c', 'd'].map((name) => node(name)));
      expect(all).to.have.length(4);
      const { rows } = await withClient((client) =>
        client.query(`select id from ${schema}.migrations`),
      );
      expect(rows).to.deep.equal([{ id: 1 }]);
    });

    it('is refused if it is newer than the program', async () => {
      await (await node('a')).close();
      await withClient((client) =>
        client.query(`insert into ${schema}.migrations (id) values (99)`),
      );
      const error = await node('b').catch((thrown: unknown) => thrown);
      expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'ENOTSUP' });
      expect(String(error)).to.match(/has version 99, this program knows up to 1: upgrade kcont/);
    });
  });

  it('refuses options that contradict each other', () => {
    const pool = { query: () => Promise.resolve({ rows: [], rowCount: 0 }), options: {} };
    for (const options of [{}, { pool, connectionString: url }, { pool: {} }]) {
      expect(() => graphile(options as GraphileOptions)).to.throw(KcontError);
    }
  });

  it('refuses a connection string that is none, without showing its password', () => {
    for (const connectionString of ['localhost', 'mysql://ann:secret@host/db', 'ann:secret@host']) {
      let error: unknown;
      try {
        graphile({ connectionString });
      } catch (thrown) {
        error = thrown;
      }
      expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'EINVAL' });
      expect(String(error))
        .to.match(/must begin with postgres:/)
        .and.not.match(/secret/);
    }
    for (const connectionString of [
      'postgresql://host/db',
      '/var/run/postgresql db',
      'socket:/run',
    ]) {
      expect(() => graphile({ connectionString })).not.to.throw();
    }
  });

  it('takes a pool, which it does not end, and connections of its own with its settings', async () => {
    const pool = new Pool({ connectionString: url });
    const jobs = await node('a', { backend: graphile({ pool, schema }) });
    const ran = new Promise((resolve) => void jobs.define('note', resolve));
    await jobs.kcont('x', 'note', 'hello').schedule();
    expect(await ran).to.equal('hello');
    await jobs.close();
    expect((await pool.query('select 1 as one')).rows).to.deep.equal([{ one: 1 }]);
    await pool.end();
  });

  describe('a transaction of the caller', () => {
    it('schedules if it is committed, and never if it is rolled back', async () => {
      const jobs = await node('a');
      const ran: string[] = [];
      jobs.define('note', (text: string) => void ran.push(text));
      await withClient(async (client) => {
        await client.query('begin');
        expect(await jobs.kcont('no', 'note', 'no').schedule(0, { client })).to.equal(true);
        await client.query('rollback');
        await client.query('begin');
        await jobs.kcont('yes', 'note', 'yes').schedule(0, { client });
        expect((await jobs.kcont('yes', 'note', '').state()).pending).to.equal(false);
        await client.query('commit');
      });
      await until(async () => ran.length > 0);
      expect(ran).to.deep.equal(['yes']);
      expect((await jobs.kcont('no', 'note', '').state()).pending).to.equal(false);
    });
  });

  describe('the client of an invocation', () => {
    it('commits what a transaction has done, and rolls back what has failed', async () => {
      const jobs = await node('a', { onError: () => undefined });
      await createLog(schema);
      const insert = `insert into ${schema}.log (id, run, lock, event) values ($1, '', '', 'end')`;
      let late: unknown;
      jobs.define('write', async (_, invocation) => {
        await invocation.client.query(insert, ['single']);
        const kept = await invocation.transaction(async (client) => {
          await client.query(insert, ['both 1']);
          await client.query(insert, ['both 2']);
          return client;
        });
        late = await kept.query(insert, ['late']).catch((error: unknown) => error);
        await invocation
          .transaction(async (client) => {
            await client.query(insert, ['none']);
            await client.query('select 1 / 0');
          })
          .catch(() => undefined);
        throw await invocation.client.query('select 1 / 0').catch((error: unknown) => error);
      });
      const kc = jobs.kcont('x', 'write', null);
      await kc.schedule();
      await until(async () => (await kc.state()).failed > 0);
      expect((await kc.state()).lastError).to.match(/division by zero/);
      expect((await readLog(schema)).map(({ id }) => id)).to.deep.equal([
        'single',
        'both 1',
        'both 2',
      ]);
      expect(late).to.be.an.instanceof(KcontError).that.includes({ code: 'EINVAL' });
    }).timeout(10_000);
  });

  describe('a transaction of an invocation', () => {
    it('is rejected if it was rolled back because of an error that the function ignored', async () => {
      const jobs = await node('a');
      let refused: unknown;
      jobs.define('write', async (_, invocation) => {
        refused = await invocation
          .transaction(async (client) => {
            await client.query('select 1 / 0').catch(() => undefined);
            return 'done';
          })
          .catch((error: unknown) => error);
      });
      await jobs.kcont('x', 'write', null).schedule();
      await until(async () => refused !== undefined);
      expect(String(refused)).to.match(/division by zero/);
    });

    it('is rejected with EINVAL if it gets no function', async () => {
      const jobs = await node('a');
      let refused: unknown;
      jobs.define('write', async (_, invocation) => {
        refused = await invocation.transaction(5 as never).catch((error: unknown) => error);
      });
      await jobs.kcont('x', 'write', null).schedule();
      await until(async () => refused !== undefined);
      expect(refused).to.be.an.instanceof(KcontError).that.includes({ code: 'EINVAL' });
    });

    it('does not keep other runs from being acknowledged and stored, however many there are', async () => {
      const jobs = await node('a', { concurrency: 12 });
      let begun = 0;
      let acknowledged = 0;
      jobs.define('retry', { maxAttempts: 2, backoff: { baseMs: 1 } }, (_, { attempt }) => {
        if (attempt === 1) throw new Error('again');
      });
      const other = jobs.kcont('other', 'retry', null);
      jobs.define('hold', async (_, invocation) => {
        await invocation.transaction(async () => {
          begun++;
          // All connections for functions are in use from here on.
          await until(async () => begun >= 10);
          if (await invocation.ack()) acknowledged++;
          await until(async () => acknowledged >= 10 && !(await other.state()).pending);
        });
      });
      for (let i = 0; i < 10; i++) await jobs.kcont(`hold:${i}`, 'hold', null).schedule();
      await until(async () => begun === 10);
      await other.schedule();
      await until(async () => acknowledged === 10);
      await jobs.drain();
      expect(await other.state()).to.include({ pending: false, failed: 0, lastError: null });
    });
  });

  it('is refused in a transaction whose snapshot is too old, instead of looking forever', async () => {
    const jobs = await node('a');
    const ran: string[] = [];
    jobs.define('note', (text: string) => void ran.push(text));
    const kc = jobs.kcont('x', 'note', 'x');
    await kc.schedule(1e6);
    await withClient(async (client) => {
      await client.query('begin isolation level repeatable read');
      await client.query('select count(*) from pg_class');
      await kc.schedule();
      await until(async () => ran.length > 0 && !(await kc.state()).running);
      const refused = await kc.schedule(0, { client }).catch((error: unknown) => error);
      expect(refused).to.include({ code: '40001' });
    });
  });

  describe('its connections', () => {
    it('have the names by which they are ended, whatever the connection string says', async () => {
      const named = new URL(url);
      named.searchParams.set('application_name', `${schema}-app`);
      const jobs = await node('a', { backend: graphile({ connectionString: named.href, schema }) });
      let own: unknown;
      jobs.define('look', async (_, { client }) => {
        own = (await client.query('show application_name')).rows[0];
      });
      await jobs.kcont('x', 'look', null).schedule();
      await until(async () => own !== undefined);
      const { rows } = await withClient((client) =>
        client.query(`select 'kcont:' || session as application_name from ${schema}.nodes`),
      );
      expect([own]).to.deep.equal(rows);
    });

    it('are not ended by a limit for idle sessions of the connection string', async () => {
      const limited = new URL(url);
      limited.searchParams.set('options', '-c idle_session_timeout=200');
      const errors: string[] = [];
      const jobs = await node('a', {
        backend: graphile({ connectionString: limited.href, schema }),
        onError: (error) => errors.push(String(error)),
      });
      const ran: string[] = [];
      jobs.define('note', (text: string) => void ran.push(text));
      await jobs.kcont('x', 'note', 'x').schedule();
      await until(async () => ran.length > 0);
      // Several times as long as the limit.
      await beats('a', 3);
      expect(errors).to.deep.equal([]);
    });

    it('include one on which all looks for a job of a lock are made, one after the other', async () => {
      const jobs = await node('a');
      let ran = 0;
      jobs.define('count', () => void ran++);
      const numbers = Array.from({ length: 50 }, (_, i) => i);
      // The first looks are made before it is there.
      await until(async () => {
        const begin = await withClient((client) => client.query('select clock_timestamp() as at'));
        ran = 0;
        await Promise.all(
          numbers.map((i) => jobs.kcont(`k${i}`, 'count', null, { lock: `l${i % 20}` }).schedule()),
        );
        await until(async () => ran === numbers.length && jobs.running === 0);
        const { rows } = await withClient((client) =>
          client.query(
            `select count(*)::integer as count from pg_stat_activity
             join ${schema}.nodes on application_name = 'kcont:' || session
             where query like '%job_queues.is_available%' and query_start > $1`,
            [begin.rows[0].at],
          ),
        );
        return rows[0].count === 1;
      });
    });

    it('read numbers and dates as they are, whatever the format of the connection string', async () => {
      const formatted = new URL(url);
      formatted.searchParams.set('options', '-c extra_float_digits=-10 -c datestyle=German');
      const jobs = await node('a', {
        backend: graphile({ connectionString: formatted.href, schema }),
      });
      jobs.define('note', () => undefined);
      const kc = jobs.kcont('x', 'note', 'x');
      await kc.schedule(123_456_789);
      expect((await kc.state()).dueInMs).to.be.within(123_356_789, 123_456_789);
    });

    it('are waited for, and no run is lost, while the server has none free', async () => {
      const role = `${schema}_role`;
      const { pathname } = new URL(url);
      await withClient((client) =>
        client.query(`create role ${role} login connection limit 7;
          grant create on database ${pathname.slice(1)} to ${role}`),
      );
      const few = new URL(url);
      few.username = role;
      const errors: string[] = [];
      const backend = graphile({ connectionString: few.href, schema });
      try {
        const jobs = await node('a', {
          backend,
          onError: (error) => errors.push((error as { code: string }).code),
        });
        const ran: string[] = [];
        jobs.define('note', (text: string, { crashes }) => void ran.push(`${text} ${crashes}`));
        for (let i = 0; i < 20; i++) await jobs.kcont(`${i}`, 'note', `${i}`).schedule();
        await until(async () => ran.length >= 20);
        const all = Array.from({ length: 20 }, (_, i) => `${i} 0`);
        expect(ran).to.have.members(all);
        // It was told, and has not been cut off.
        expect(new Set(errors)).to.deep.equal(new Set(['53300']));
        await jobs.close();
      } finally {
        await withClient((client) =>
          client.query(`drop owned by ${role} cascade; drop role ${role}`),
        );
      }
    });

    it('may be cut while the schema is upgraded: the start is rejected', async () => {
      await (await node('a')).close();
      const proxy = await Proxy.start();
      try {
        await withClient(async (client) => {
          await client.query(`begin; lock table ${schema}_worker.migrations`);
          const backend = graphile({ connectionString: proxy.url, schema });
          const started = node('b', { backend }).catch((error: unknown) => error);
          await until(async () => {
            const { rows } = await client.query('select 1 from pg_locks where not granted');
            return rows.length > 0;
          });
          proxy.cut();
          expect(await started).to.be.an.instanceof(Error);
        });
      } finally {
        proxy.stop();
      }
    });

    it('end with the node, also those that are still being made', async () => {
      const proxy = await Proxy.start();
      const backend = graphile({ connectionString: proxy.url, schema });
      const jobs = await durable({ backend, node: 'a', kernel: new Kernel() });
      try {
        const failed: unknown[] = [];
        jobs.define('ask', async (_: null, { client }) => {
          const open = proxy.open;
          proxy.fill(true);
          const asked = client.query('select 1').catch((error: unknown) => failed.push(error));
          // Of the pool for operations, which is busy with the first.
          const touched = [1, 2].map(() => jobs.kcont('y', 'ask', null).touch());
          void Promise.allSettled(touched);
          await until(async () => proxy.open >= open + 4);
          failed.push('asked');
          await asked;
        });
        await jobs.kcont('x', 'ask', null).schedule();
        await until(async () => failed.length > 0);
        await jobs.close({ graceMs: 0 });
        await until(async () => proxy.open === 0);
        expect(failed[1]).to.include({ code: 'ECPUDIED' });
      } finally {
        proxy.stop();
      }
    });

    it('may not answer any more: a node can be closed nevertheless', async () => {
      const proxy = await Proxy.start();
      const backend = graphile({ connectionString: proxy.url, schema });
      const jobs = await durable({ backend, node: 'a', kernel: new Kernel() });
      try {
        jobs.define('note', () => undefined);
        const kc = jobs.kcont('x', 'note', null);
        await kc.schedule(1e6);
        proxy.hold();
        const touched = kc.touch().catch((error: unknown) => error);
        await jobs.close({ graceMs: 0 });
        expect(await touched).to.be.an.instanceof(Error);
      } finally {
        proxy.cut();
        proxy.stop();
      }
    });
  });

  it('takes the name of a schema that is a key word', async () => {
    const backend = graphile({ connectionString: url, schema: 'user' });
    const jobs = await durable({ backend, node: 'a', kernel: new Kernel() });
    try {
      const ran = new Promise((resolve) => void jobs.define('note', resolve));
      await jobs.kcont('x', 'note', 'x').schedule(1);
      expect(await ran).to.equal('x');
    } finally {
      await jobs.close();
      await dropSchema('"user"').catch(() => undefined);
      await withClient((client) => client.query('drop schema if exists user_worker cascade'));
    }
  });

  it('goes on although a transaction of a caller keeps it from recovering a dead node', async () => {
    const errors: string[] = [];
    const backend = graphile({ connectionString: url, schema, livenessMs: 1000 });
    const jobs = await node('a', { backend, onError: (error) => errors.push(String(error)) });
    await createLog(schema);
    const kc = scheduler(jobs)('x', { lock: 'one', forMs: 60_000 });
    const process = await start('p');
    await kc.schedule();
    await hasLog('x', 'begin', /^p/);
    await withClient(async (client) => {
      await client.query('begin');
      await kc.reset(1e6, { client });
      await process.kill();
      // Signs of life, although p cannot be taken out.
      await beats('a', 4);
      expect((await kc.state()).running).to.equal(true);
      await client.query('commit');
    });
    await until(async () => !(await kc.state()).running);
    expect(errors).to.deep.equal([]);
  });

  describe('the fencing token', () => {
    /** What another node does after it has ended the connections of this one. */
    const takeOut = (): Promise<unknown> =>
      withClient(async (client) => {
        await client.query("set lock_timeout = '300ms'");
        await client.query(
          `select ${schema}.leave(name, session, false) from ${schema}.nodes where name = 'a'`,
        );
      });

    it('has writes refused even if a connection is still open', async () => {
      const jobs = await node('a');
      await createLog(schema);
      const insert = `insert into ${schema}.log (id, run, lock, event) values ($1, '', '', 'end')`;
      const outcomes: unknown[] = [];
      jobs.define('write', async (_, invocation) => {
        if (invocation.crashes > 0) return;
        await invocation.client.query(insert, ['before']);
        await takeOut();
        for (const write of [
          () => invocation.client.query(insert, ['single']),
          () => invocation.transaction((client) => client.query(insert, ['in a transaction'])),
        ]) {
          outcomes.push(await write().catch((error: unknown) => (error as KcontError).code));
        }
        outcomes.push((invocation.signal.reason as KcontError).code);
      });
      await jobs.kcont('x', 'write', null).schedule();
      await until(async () => outcomes.length === 3);
      expect(outcomes).to.deep.equal(['ECPUDIED', 'ECPUDIED', 'ECPUDIED']);
      expect((await readLog(schema)).map(({ id }) => id)).to.deep.equal(['before']);
    });

    it('keeps the node in the cluster until a transaction of a run has ended', async () => {
      const jobs = await node('a');
      let refused: unknown;
      jobs.define('hold', async (_, invocation) => {
        await invocation.transaction(async (client) => {
          await client.query('select 1');
          refused = await takeOut().catch((error: unknown) => (error as { code: string }).code);
        });
      });
      const kc = jobs.kcont('x', 'hold', null);
      await kc.schedule();
      await until(async () => refused !== undefined);
      // lock_not_available
      expect(refused).to.equal('55P03');
      await kc.drain();
    });
  });

  describe('a process that is killed', () => {
    it('is replaced within a second or so: another begins its runs again', async () => {
      const jobs = await node('a');
      await createLog(schema);
      const work = scheduler(jobs);
      const first = await start('p');
      await work('x', { lock: 'one', forMs: 60_000 }).schedule();
      await hasLog('x', 'begin', /^p \d+ 1 0/);
      await first.kill();
      const killedMs = performance.now();
      await until(async () => !(await work('x', { lock: 'one', forMs: 0 }).state()).running);
      // Half a second on an idle machine: the next beat finds it. `livenessMs` is 10 s here, that of the engine 4 h.
      expect(performance.now() - killedMs).to.be.below(5000);
      await start('p');
      await hasLog('x', 'begin', /^p \d+ 1 1/);
    });

    it('may be started again before the server has noticed', async () => {
      await (await node('a')).close();
      const starting = await withClient(async (client) => {
        await client.query(`select pg_advisory_lock(lock_key) from ${schema}.nodes`);
        await client.query(`update ${schema}.nodes set is_up = true, beat = clock_timestamp()`);
        const again = node('a');
        again.catch(() => undefined);
        await until(async () => {
          const { rows } = await client.query(
            `select 1 from pg_stat_activity
             where query like '%"${schema}".join_cluster%' and pid <> pg_backend_pid()`,
          );
          return rows.length > 0;
        });
        await client.query('select pg_advisory_unlock_all()');
        return again;
      });
      expect(starting.running).to.equal(0);
    });

    it('may be started again although that takes longer than livenessMs', async () => {
      await (await node('a')).close();
      const backend = graphile({ connectionString: url, schema, livenessMs: 1000 });
      const errors: string[] = [];
      const starting = await withClient(async (client) => {
        // Another process of that name is joining, or has only just been killed while it was.
        const held = 'pg_advisory_xact_lock(hashtextextended($1, 2))';
        await client.query('begin');
        await client.query(`select ${held}`, [`"${schema}":a`]);
        const again = node('a', { backend, onError: (error) => errors.push(String(error)) });
        again.catch(() => undefined);
        await until(async () => {
          const sql = `select clock_timestamp() > query_start + interval '1.1 s' as waits
            from pg_stat_activity where query like '%"${schema}".join_cluster(%' and wait_event = 'advisory'`;
          // A transaction sees the same activity all the time.
          const { rows } = await withClient((other) => other.query(sql));
          return rows[0]?.waits === true;
        });
        await client.query('commit');
        return again;
      });
      expect(starting.closed).to.equal(false);
      expect(errors).to.deep.equal([]);
    });

    it('is refused with EBUSY as long as a transaction of others keeps it from being replaced', async () => {
      await (await node('a')).close();
      await withClient(async (client) => {
        await client.query(`update ${schema}.nodes set is_up = true`);
        await client.query(`begin; select 1 from ${schema}.nodes for key share`);
        const again: unknown = await node('a').catch((error: unknown) => error);
        expect(again).to.be.an.instanceof(KcontError).that.includes({ code: 'EBUSY' });
        await client.query('commit');
      });
      expect((await node('a')).closed).to.equal(false);
    });

    it('parks a run that has killed three, until it is released or scheduled anew', async () => {
      const jobs = await node('a');
      await createLog(schema);
      const kc = scheduler(jobs)('x', { lock: 'one', forMs: 0, kills: true });
      for (let i = 0; i < 3; i++) {
        const process = await start('p');
        if (i === 0) await kc.schedule();
        await process.gone;
      }
      await until(async () => (await kc.state()).parked);
      expect(await jobs.parked()).to.deep.equal([{ id: 'x', handler: 'work', crashes: 3 }]);
      expect(await jobs.release('x')).to.equal(true);
      expect(await jobs.release('x')).to.equal(false);
      expect(await kc.state()).to.include({ pending: true, parked: false });
      expect(await kc.stop()).to.equal(false);
    });
  });

  it('cuts off a suspended process: its writes are refused, and its run begins elsewhere', async () => {
    const jobs = await node('a', {
      backend: graphile({ connectionString: url, schema, livenessMs: 1000 }),
    });
    await createLog(schema);
    jobs.define<Work>('work', { crashLimit: 3 }, () => undefined);
    const kc = jobs.kcont('x', 'work', { lock: 'one', forMs: 3000 }, { node: 'p' });
    const process = await start('p');
    await kc.schedule();
    await hasLog('x', 'begin', /^p/);
    process.signal('SIGSTOP');
    await until(async () => !(await kc.state()).running);
    process.signal('SIGCONT');
    await process.said(
      ({ refused, aborted }: { refused?: string; aborted?: boolean }) =>
        refused === 'x' && aborted === true,
    );
    // It has joined again by itself, and has begun the run again.
    await hasLog('x', 'end', /^p \d+ 1 1/);
    const log = await readLog(schema);
    expect(log.map(({ event, run }) => `${event} ${run.split(' ')[3]}`)).to.deep.equal([
      'begin 0',
      'begin 1',
      'end 1',
    ]);
  });

  it('joins again after its connections were cut, and loses nothing', async () => {
    const proxy = await Proxy.start();
    const errors: string[] = [];
    const jobs = await node('a', {
      backend: graphile({ connectionString: proxy.url, schema }),
      onError: (error) => errors.push((error as KcontError).code),
    });
    try {
      const ran: string[] = [];
      jobs.define('note', (text: string) => void ran.push(text));
      await jobs.kcont('x', 'note', 'x').schedule(300);
      proxy.cut();
      await until(async () => ran.length > 0);
      expect(ran).to.deep.equal(['x']);
      expect(errors[0]).to.equal('ECPUDIED');
    } finally {
      await jobs.close();
      proxy.stop();
    }
  });

  describe('beside other programs', () => {
    it('goes on when graphile-worker is installed in another schema of the database', async () => {
      const { exitCode } = process;
      const errors: string[] = [];
      const jobs = await node('a', { onError: (error) => errors.push(String(error)) });
      const ran: string[] = [];
      jobs.define('note', (text: string) => void ran.push(text));
      await jobs.cron('yearly', '0 0 1 1 *', 'note', 'never');
      await jobs.kcont('x', 'note', 'before', { lock: 'one' }).schedule();
      await until(async () => ran.length === 1);
      const other = newSchema();
      try {
        await (
          await node('b', { backend: graphile({ connectionString: url, schema: other }) })
        ).close();
        // The connections that were notified get the notification of this job after it.
        for (const text of ['after', 'later']) {
          await jobs.kcont(text, 'note', text, { lock: 'one' }).schedule();
          await until(async () => ran.includes(text));
        }
      } finally {
        await dropSchema(other);
      }
      expect(ran).to.deep.equal(['before', 'after', 'later']);
      expect([errors, process.exitCode]).to.deep.equal([[], exitCode]);
    });

    it('goes on when its table of jobs has got another column', async () => {
      const errors: unknown[] = [];
      const jobs = await node('a', { onError: (error) => errors.push(error) });
      const ran: string[] = [];
      jobs.define('note', (text: string) => void ran.push(text));
      const run = async (id: string, lock: string | null): Promise<void> => {
        await jobs.kcont(id, 'note', id, { lock }).schedule();
        await until(async () => ran.includes(id));
      };
      // The connections that look for a job have prepared the statement.
      for (let i = 0; i < 5; i++) await run(`before ${i}`, i % 2 === 0 ? null : 'one');
      await withClient((client) =>
        client.query(`alter table ${schema}_worker._private_jobs add column more integer`),
      );
      for (let i = 0; i < 5; i++) await run(`after ${i}`, i % 2 === 0 ? null : 'one');
      expect(errors).to.deep.equal([]);
    });

    it('tells once that it cannot look for jobs, and goes on when it can', async () => {
      const codes: string[] = [];
      const jobs = await node('a', {
        onError: (error) => codes.push((error as { code: string }).code),
      });
      const ran: string[] = [];
      jobs.define('note', (text: string) => void ran.push(text));
      const run = async (id: string): Promise<void> => {
        await jobs.kcont(id, 'note', id).schedule();
        await until(async () => ran.includes(id));
      };
      await run('before');
      const rename = (from: string, to: string): Promise<unknown> =>
        withClient((client) =>
          client.query(`alter table ${schema}_worker.${from} rename to ${to}`),
        );
      await rename('_private_job_queues', 'away');
      await until(async () => codes.length > 0);
      // Some more looks.
      await beats('a', 8);
      await rename('away', '_private_job_queues');
      await run('after');
      expect(codes).to.deep.equal(['42P01']);
    });

    it('stops when a newer graphile-worker has changed its own schema, until it is as before', async () => {
      const { exitCode } = process;
      const errors: string[] = [];
      const jobs = await node('a', {
        onError: (error) => errors.push(`${(error as KcontError).code} ${String(error)}`),
      });
      const ran: string[] = [];
      jobs.define('note', (text: string) => void ran.push(text));
      await withClient((client) =>
        client.query(`insert into ${schema}_worker.migrations (id, breaking) values (9999, true);
          notify "worker:migrate", '{"migrationNumber":9999,"breaking":true}'`),
      );
      await until(async () => errors.length > 1);
      expect(errors[0]).to.match(/^ECPUDIED .*has revision 9999 of graphile-worker/);
      expect(errors[1]).to.match(/^ENOTSUP .*this program uses up to \d+: upgrade it/);
      const refused = await node('b').catch((thrown: unknown) => thrown);
      expect(refused).to.be.an.instanceof(KcontError).that.includes({ code: 'ENOTSUP' });
      await jobs.kcont('x', 'note', 'x').schedule();
      expect(ran).to.deep.equal([]);
      await withClient((client) =>
        client.query(`delete from ${schema}_worker.migrations where id = 9999`),
      );
      await until(async () => ran.length > 0);
      expect([ran, process.exitCode]).to.deep.equal([['x'], exitCode]);
    });

    it('runs again what could not be completed because of an error of the database', async () => {
      const errors: string[] = [];
      const jobs = await node('a', { onError: (error) => errors.push(String(error)) });
      const ran: string[] = [];
      jobs.define('note', { crashLimit: 1000 }, (text: string, call) => {
        ran.push(`${text} ${call.crashes}`);
      });
      await withClient((client) =>
        client.query(`create function ${schema}.refuse() returns trigger language plpgsql as $$
            begin raise exception 'not now'; end $$;
          create trigger refuse before delete on ${schema}_worker._private_jobs
            for each row execute function ${schema}.refuse()`),
      );
      await jobs.kcont('x', 'note', 'x', { lock: 'one' }).schedule();
      await until(async () => errors.length > 0);
      expect(errors[0]).to.match(/node a was cut off: not now/);
      await withClient((client) =>
        client.query(`drop trigger refuse on ${schema}_worker._private_jobs`),
      );
      await jobs.kcont('y', 'note', 'y', { lock: 'one' }).schedule();
      await until(async () => ran.some((text) => text.startsWith('y')));
      const runs = ran.filter((text) => text.startsWith('x'));
      expect(runs.slice(0, 2)).to.deep.equal(['x 0', 'x 1']);
      expect(ran.at(-1)).to.equal('y 0');
    });
  });

  it('ignores a job that is not of this library, and goes on', async () => {
    const errors: string[] = [];
    const jobs = await node('a', { onError: (error) => errors.push(String(error)) });
    const ran = new Promise((resolve) => void jobs.define('note', resolve));
    await withClient((client) =>
      client.query(`select ${schema}_worker.add_job('note', '{"id": 5}')`),
    );
    await until(async () => errors.length > 0);
    expect(errors[0]).to.match(/has no payload of kcont/);
    await jobs.kcont('x', 'note', 'next').schedule();
    expect(await ran).to.equal('next');
  });
});

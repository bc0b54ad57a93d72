import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { Kernel } from '../../lib/index.ts';
import { durable, type Durable } from '../../lib/durable/index.ts';
import { graphile } from '../../lib/durable/graphile/index.ts';
import { NodeProcess, createLog, readLog } from '../support/chaos-cluster.ts';
import type { Work } from '../support/chaos-node.ts';
import {
  DATABASE_URL,
  dropSchema,
  needsDatabase,
  newSchema,
  withClient,
} from '../support/database.ts';
import { ROOT } from '../support/root.ts';

describe('the least privileges of docs/durable.md', function () {
  this.timeout(40_000);
  needsDatabase(this);
  const schema = newSchema();
  const role = `${schema}_role`;
  const url = new URL(DATABASE_URL ?? 'postgres://127.0.0.1/none');
  const database = url.pathname.slice(1);
  let statements: string[];

  before(async function () {
    const mayCreate = await withClient((client) =>
      client.query(
        'select 1 from pg_roles where rolname = current_user and (rolsuper or rolcreaterole)',
      ),
    );
    if (mayCreate.rowCount === 0) {
      console.log('SKIPPED: the specs of least privileges, because the role may not create roles');
      this.test?.parent?.tests.splice(0);
      return;
    }
    const docs = readFileSync(join(ROOT, 'docs/durable.md'), 'utf8');
    const block = /```sql\n(?<sql>create role[^`]*)```/.exec(docs)?.groups?.['sql'] ?? '';
    statements = block
      .replaceAll('kcont_app', role)
      .replaceAll('database app', `database "${database}"`)
      .replaceAll('…', 'secret')
      .split('-- start a node once, then:\n');
    expect(statements).to.have.length(2);
  });

  after(async () => {
    await dropSchema(schema);
    if (statements === undefined) return;
    await withClient(async (client) => {
      await client.query(`drop owned by ${role}`);
      await client.query(`drop role ${role}`);
    });
  });

  it('suffice for all that nodes do, and for nothing else', async () => {
    const [first = '', rest = ''] = statements;
    await withClient((client) => client.query(first));
    url.username = role;
    url.password = 'secret';
    const backend = graphile({ connectionString: url.href, schema, livenessMs: 1000 });
    const kernel = new Kernel();
    let jobs: Durable = await durable({ backend, node: 'a', kernel });
    await jobs.close();
    await withClient((client) => client.query(rest));

    // Without the right to create schemas, from here on.
    jobs = await durable({ backend, node: 'a', kernel });
    jobs.define<Work>('work', () => undefined);
    await createLog(schema, url.href);
    const kc = jobs.kcont('x', 'work', { lock: 'l', forMs: 200 }, { lock: 'l', node: 'p' });
    const start = async (): Promise<NodeProcess> => {
      const process = new NodeProcess({
        url: url.href,
        schema,
        node: 'p',
        livenessMs: 1000,
        shiftMs: 0,
      });
      await process.ready;
      return process;
    };
    let process = await start();
    try {
      await kc.schedule();
      while ((await readLog(schema)).length === 0) await sleep(5);
      await process.kill();
      // The other node ends the connections of the dead one, and gives back its run.
      while ((await kc.state()).running) await sleep(5);
      process = await start();
      while (!(await readLog(schema)).some(({ event }) => event === 'end')) await sleep(5);
      await jobs.kcont('y', 'work', { lock: 'l', forMs: 0 }).schedule(60_000);
      expect(await jobs.kcont('y', 'work', { lock: 'l', forMs: 0 }).touch()).to.equal(true);
      await jobs.cron('z', '0 3 * * *', 'work', { lock: 'l', forMs: 0 });
    } finally {
      await process.kill();
      await jobs.close();
    }

    const refused = async (statement: string): Promise<unknown> =>
      await withClient((client) => client.query(statement), url.href).then(
        () => 'accepted',
        (error: unknown) => (error as { code?: string }).code,
      );
    expect(await refused(`create schema ${schema}_more`)).to.equal('42501');
    expect(await refused(`create role ${schema}_more`)).to.equal('42501');
    expect(await refused(`create database ${schema}_more`)).to.equal('42501');
    await withClient((client) => client.query(`create table ${schema}.others (a int)`));
    expect(await refused(`select * from ${schema}.others`)).to.equal('42501');
  });
});

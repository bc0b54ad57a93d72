import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kernel } from '../../lib/index.ts';
import { durable, type Durable } from '../../lib/durable/index.ts';
import { graphile } from '../../lib/durable/graphile/index.ts';
import {
  DATABASE_URL,
  dropSchema,
  needsDatabase,
  newSchema,
  withClient,
} from '../support/database.ts';

const MINUTE_MS = 60_000;

describe('cron(), on the clock', function () {
  this.timeout(200_000);
  needsDatabase(this);

  it('runs at the beginning of each minute, once in a cluster of two', async () => {
    const schema = newSchema();
    const backend = graphile({ connectionString: DATABASE_URL as string, schema });
    const nodes: Durable[] = [];
    const ran: { at: number; attempt: number }[] = [];
    try {
      // The first minute is not so near that the nodes could miss it.
      const intoMs = Date.now() % MINUTE_MS;
      if (intoMs > MINUTE_MS - 5000) await sleep(MINUTE_MS - intoMs + 100);
      for (const name of ['a', 'b']) {
        const jobs = await durable({ backend, node: name, kernel: new Kernel() });
        nodes.push(jobs);
        jobs.define('note', async (_, { attempt, client }) => {
          const { rows } = await client.query(
            'select extract(epoch from clock_timestamp())::float8 * 1000 as at',
          );
          ran.push({ at: (rows[0] as { at: number }).at, attempt });
        });
        await jobs.cron('x', '* * * * *', 'note', null);
      }
      while (ran.length < 2) await sleep(20);
      // A second run of the same minute would come now.
      await sleep(3000);
      expect(ran).to.have.length(2);
      for (const { at, attempt } of ran) {
        expect(attempt).to.equal(1);
        expect(at % MINUTE_MS).to.be.within(0, 2500);
      }
      expect(Math.round(((ran[1]?.at ?? 0) - (ran[0]?.at ?? 0)) / MINUTE_MS)).to.equal(1);
      const known = await withClient((client) =>
        client.query(`select identifier from ${schema}_worker._private_known_crontabs`),
      );
      expect(known.rows).to.deep.equal([{ identifier: 'x' }]);
    } finally {
      await Promise.all(nodes.map((jobs) => jobs.close()));
      await dropSchema(schema);
    }
  });
});

// A node of a cluster in a process of its own, for specs that end, suspend or cut off processes. It records
// when its function begins and ends, through the fenced client, so what it says is in the order of the
// database. Started by `startNode` of chaos-cluster.ts.

import { setTimeout as sleep } from 'node:timers/promises';
import { KcontError } from '../../lib/index.ts';
import { durable } from '../../lib/durable/index.ts';
import { graphile } from '../../lib/durable/graphile/index.ts';

/** What a node is started with. */
export interface NodeSettings {
  readonly url: string;
  readonly schema: string;
  readonly node: string;
  readonly livenessMs: number;
  /** How much the clock of the process is wrong, in ms. */
  readonly shiftMs: number;
}

/** The argument of the function `work`. */
export interface Work {
  readonly lock: string;
  readonly forMs: number;
  /** Ends its process, as often as it is run. */
  readonly kills?: boolean;
}

const { url, schema, node, livenessMs, shiftMs } = JSON.parse(
  process.argv[2] ?? '',
) as NodeSettings;
const RealDate = Date;
if (shiftMs !== 0) {
  globalThis.Date = class extends RealDate {
    constructor(...args: []) {
      super(...(args.length === 0 ? ([RealDate.now() + shiftMs] as unknown as []) : args));
    }
    static override now(): number {
      return RealDate.now() + shiftMs;
    }
  } as DateConstructor;
}

const jobs = await durable({
  backend: graphile({ connectionString: url, schema, livenessMs }),
  node,
  concurrency: 4,
  onError: (error, invocation) => {
    process.send?.({ error: `${invocation?.id ?? 'node'}: ${String(error)}` });
  },
});

jobs.define<Work>('work', { crashLimit: 3 }, async ({ lock, forMs, kills = false }, invocation) => {
  const { id, attempt, crashes } = invocation;
  const run = `${node} ${process.pid} ${attempt} ${crashes}`;
  const note = (event: string): Promise<unknown> =>
    invocation.client.query(
      `insert into ${schema}.log (id, run, lock, event) values ($1, $2, $3, $4)`,
      [id, run, lock, event],
    );
  try {
    await note('begin');
    if (kills) process.kill(process.pid, 'SIGKILL');
    await sleep(forMs);
    await note('end');
  } catch (error) {
    // Refused, because the node has lost the run: another one begins it again.
    if (error instanceof KcontError && error.code === 'ECPUDIED') {
      process.send?.({ refused: id, aborted: invocation.signal.aborted });
    }
    throw error;
  }
});
process.send?.('ready');

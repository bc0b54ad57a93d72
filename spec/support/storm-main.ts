// npm run storm -- [NAME...] [--seed N] [--scale X]
//
// Runs the storms for a long time: each prints what it has done, and its seed. A violated guarantee ends
// the run with the error and the command that repeats it.

import { parseArgs } from 'node:util';
import { closeTestKernels, startTestKernel } from './cpus.ts';
import { storms } from './storms.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    scale: { type: 'string', default: '1' },
  },
});
const seed = Number(values.seed);
const scale = Number(values.scale);
const wanted = storms.filter(
  ({ name }) => positionals.length === 0 || positionals.some((words) => name.includes(words)),
);
console.log(`Node ${process.version}, seed ${seed}, scale ${scale}`);
for (const { name, cpus, long, run } of wanted) {
  const since = performance.now();
  try {
    const said = await run(
      await startTestKernel(cpus, { longestBackoffMs: 50 }),
      Math.max(1, Math.round(long * scale)),
      seed,
    );
    console.log(`ok     ${name}: ${said} (${Math.round(performance.now() - since)} ms)`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${name}`);
    console.log(error);
    console.log(`npm run storm -- '${name}' --seed ${seed} --scale ${scale}`);
  }
  await closeTestKernels();
}

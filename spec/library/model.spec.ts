// Runs thousands of random programs on the library and on its simplest model. Everything observable must
// be equal: entries in their order, results, predicates, deadlines, locks held, errors.
//
// `npm run test:long` runs four times as many, KCONT_SOAK=20 twenty times as many; a failure
// prints the seed, and KCONT_SEED repeats it.
import fc from 'fast-check';
import { soak } from '../support/lab.ts';
import { Library } from '../support/library.ts';
import { Model } from '../support/model.ts';
import { Player, print, programs } from '../support/program.ts';
import type { Ground, Program } from '../support/program.ts';

/** Runs a program on both; returns the first difference, or null. */
async function compare(program: Program): Promise<string | null> {
  const model = new Player(program, (host, what) => new Model(host, what));
  await model.play();
  const library = new Player(program, (host, what) => new Library(host, what));
  let fault = '';
  try {
    await library.play();
  } catch (error) {
    fault = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  const length = Math.max(model.log.length, library.log.length);
  let i = 0;
  while (i < length && model.log[i] === library.log[i]) i++;
  if (i === length && fault === '') return null;
  return [
    '',
    print(program),
    '',
    'both:',
    ...model.log.slice(Math.max(0, i - 60), i),
    `model:   ${model.log.slice(i, i + 6).join('\n         ')}`,
    `library: ${library.log.slice(i, i + 6).join('\n         ')}`,
    fault,
  ].join('\n');
}

async function agree(ground: Ground, runs: number): Promise<void> {
  const seed = process.env['KCONT_SEED'];
  await fc.assert(
    fc.asyncProperty(programs(ground), async (program) => {
      const difference = await compare(program);
      if (difference !== null) throw new Error(difference);
    }),
    {
      numRuns: runs * soak,
      ...(seed === undefined ? {} : { seed: Number(seed) }),
      reporter: (out) => {
        if (!out.failed) return;
        const error = out.errorInstance instanceof Error ? out.errorInstance.message : '';
        throw new Error(
          `seed ${out.seed}, run ${out.numRuns}, shrunk ${out.numShrinks} times:\n${error}`,
        );
      },
    },
  );
}

const ALL_QUEUES = [0, 1, 2, 3, 4, 5, 6];

const PLAIN: Ground = {
  handles: 3,
  funcs: 3,
  steps: 12,
  queues: [2],
  locks: [],
  modes: ['sync'],
  swaps: false,
  runs: false,
  awaits: false,
  hectic: false,
  timersOnly: false,
};

describe('the library agrees with its simplest model', () => {
  const grounds: [what: string, runs: number, ground: Ground][] = [
    ['on sync functions of one workqueue', 1000, PLAIN],
    [
      'on sync functions of all workqueues',
      1500,
      { ...PLAIN, handles: 5, funcs: 4, steps: 25, queues: ALL_QUEUES },
    ],
    [
      'on many timers that collide, move outward and are withdrawn',
      800,
      { ...PLAIN, handles: 40, funcs: 3, steps: 120, queues: [0, 2, 3], timersOnly: true },
    ],
    [
      'on async functions which the program settles',
      1500,
      {
        ...PLAIN,
        handles: 4,
        funcs: 4,
        steps: 25,
        queues: ALL_QUEUES,
        modes: ['sync', 'soon', 'later', 'later'],
      },
    ],
    [
      'on one Mutex between continuations and awaiting code',
      1500,
      {
        ...PLAIN,
        handles: 4,
        funcs: 4,
        steps: 25,
        queues: [0, 2, 3, 4],
        locks: [0],
        modes: ['sync', 'soon', 'later', 'later'],
      },
    ],
    [
      'on one Mutex given and taken while higher and lower ones come and go',
      2500,
      {
        ...PLAIN,
        handles: 5,
        funcs: 3,
        steps: 80,
        queues: [0, 2, 3],
        locks: [0],
        modes: ['sync', 'sync', 'later'],
        hectic: true,
      },
    ],
    [
      'on workqueues that are full',
      2500,
      {
        ...PLAIN,
        handles: 5,
        funcs: 3,
        steps: 80,
        queues: [5, 6],
        locks: [0],
        modes: ['soon', 'later', 'later'],
        hectic: true,
      },
    ],
    [
      'on two Mutexes that are swapped during runs, with limited workqueues',
      1500,
      {
        ...PLAIN,
        handles: 4,
        funcs: 4,
        steps: 30,
        queues: ALL_QUEUES,
        locks: [0, 1],
        modes: ['sync', 'soon', 'later', 'later'],
        swaps: true,
      },
    ],
    [
      'on readers and writers',
      1500,
      {
        ...PLAIN,
        handles: 5,
        funcs: 4,
        steps: 30,
        queues: [0, 2, 3, 4],
        locks: [2, 3],
        modes: ['sync', 'soon', 'later', 'later'],
      },
    ],
    [
      'on one-shots with a result',
      1000,
      {
        ...PLAIN,
        handles: 2,
        funcs: 3,
        steps: 25,
        queues: ALL_QUEUES,
        locks: [0],
        modes: ['sync', 'soon', 'later', 'later'],
        runs: true,
      },
    ],
    [
      'on runs that inherit the priority of what waits for the lock of their caller',
      3000,
      {
        ...PLAIN,
        handles: 5,
        funcs: 5,
        steps: 40,
        queues: [0, 2, 3, 4],
        locks: [0, 1],
        modes: ['sync', 'soon', 'later', 'later', 'later'],
        runs: true,
        awaits: true,
      },
    ],
    [
      'on inherited priorities, readers and writers, full workqueues and swapped locks',
      3000,
      {
        ...PLAIN,
        handles: 5,
        funcs: 5,
        steps: 40,
        queues: [2, 3, 4, 5, 6],
        locks: [0, 1, 2, 3],
        modes: ['sync', 'soon', 'later', 'later', 'later'],
        swaps: true,
        runs: true,
        awaits: true,
      },
    ],
    [
      'on everything at once',
      1500,
      {
        handles: 6,
        funcs: 5,
        steps: 50,
        queues: ALL_QUEUES,
        locks: [0, 1, 2, 3, 4, 5, 6],
        modes: ['sync', 'sync', 'soon', 'later', 'later'],
        swaps: true,
        runs: true,
        awaits: false,
        hectic: false,
        timersOnly: false,
      },
    ],
  ];
  for (const [what, runs, ground] of grounds) {
    it(what, async function () {
      this.timeout(600_000);
      await agree(ground, Math.ceil(runs / 3));
    });
  }
});

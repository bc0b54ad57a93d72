// Random items with deadlines in random stages, and the expected result of each.
import fc from 'fast-check';
import { pipeline } from '../../lib/pipeline/index.ts';
import { KcontError } from '../../lib/index.ts';
import { Lab } from './lab.ts';

/** A stage: how long its function takes, what ends it, and its deadline; 0: no deadline. */
interface StageProgram {
  readonly tookMs: number;
  readonly deadlineMs: number;
  /** The queue that ends it: before or after the deadlines of the same tick. */
  readonly endsBy: 'softserial' | 'softclock' | 'prilow';
}

export interface DeadlineProgram {
  readonly stages: readonly StageProgram[];
  readonly ownMs: number;
}

// Few values, so that ends and deadlines often fall into the same tick.
const ms = fc.integer({ min: 0, max: 4 });

export const deadlinePrograms: fc.Arbitrary<DeadlineProgram> = fc.record({
  stages: fc.array(
    fc.record({
      tookMs: ms,
      deadlineMs: ms,
      endsBy: fc.constantFrom('softserial', 'softclock', 'prilow'),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  ownMs: fc.integer({ min: 0, max: 9 }),
});

/** The expected result of the item: how it ends, and when. */
export function expectedOf({ stages, ownMs }: DeadlineProgram): string {
  const ownAt = ownMs === 0 ? Infinity : ownMs;
  let now = 0;
  for (const [index, { tookMs, deadlineMs }] of stages.entries()) {
    const stageAt = deadlineMs === 0 ? Infinity : now + deadlineMs;
    const endsAt = now + tookMs;
    // A stage that ends in its last tick has met its deadline; an item with further stages has not ended.
    const isLast = index === stages.length - 1;
    if (endsAt > Math.min(stageAt, ownAt)) return `ETIMEDOUT at ${Math.min(stageAt, ownAt)}`;
    if (endsAt === ownAt && !isLast) return `ETIMEDOUT at ${ownAt}`;
    now = endsAt;
  }
  return `done at ${now}`;
}

/** Its result. */
export async function outcomeOf({ stages, ownMs }: DeadlineProgram): Promise<string> {
  const { clock, kernel, wq } = new Lab();
  let plan = pipeline<number>('line').stage('first', (n) => n, { wq: 'softserial' });
  for (const [index, { tookMs, deadlineMs, endsBy }] of stages.entries()) {
    plan = plan.stage(
      `stage ${index}`,
      (n) => (tookMs === 0 ? n : wq[endsBy].run(() => n, { delayMs: tookMs })),
      deadlineMs === 0 ? {} : { deadlineMs },
    );
  }
  const line = plan.start({ kernel });
  let outcome = 'in flight';
  line.run(1, ownMs === 0 ? {} : { deadlineMs: ownMs }).then(
    () => (outcome = `done at ${clock.now}`),
    (error: unknown) => {
      outcome = `${error instanceof KcontError ? error.code : String(error)} at ${clock.now}`;
    },
  );
  for (let i = 0; i < 20; i++) await clock.advance(i === 0 ? 0 : 1);
  const { pending } = kernel.inspect();
  await line.close();
  return pending === 0 ? outcome : `${outcome}, ${pending} timers left`;
}

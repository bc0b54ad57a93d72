// A consumer that declares with `using`: TypeScript >= 5.2. See README.md.
import { Kcont, Mutex, Scope, stopping, wq, type JoinOptions, type JoinPolicy } from 'kcont';

const mutex = new Mutex();

/** A group of runs: the types of its results, and of what it is joined with. */
export async function group(): Promise<number> {
  await using outer = new Scope({ name: 'request', wq: wq.prihigh, deadlineMs: 500 });
  await using scope = new Scope({ parent: outer, policy: 'all', signal: outer.signal });
  const length: Promise<number> = scope.run(async (signal) => (signal.aborted ? 0 : 1));
  const text: Promise<string> = scope.run(
    (n: number, signal: AbortSignal) => `${n} ${signal.aborted}`,
    {
      arg: 5,
    },
  );
  const other: Promise<string> = wq.prilow.run(() => 'x', { scope });
  const all: unknown[] = await scope.join({ policy: 'all' });
  const first: unknown = await scope.join({ policy: 'any', deadlineMs: 5 });
  const outcomes: PromiseSettledResult<unknown>[] = await scope.join({ policy: 'settled' });
  const policy: JoinPolicy = 'race';
  const options: JoinOptions = { policy };
  await scope.join(options);
  await wq.prilow.yield();
  // @ts-expect-error: no such policy
  await scope.join({ policy: 'first' });
  // @ts-expect-error: the function takes another argument
  void scope.run((n: number) => n, { arg: 'x' });
  // @ts-expect-error: a run of a scope belongs to that scope
  void scope.run(() => 1, { scope: outer });
  // @ts-expect-error: a continuation or a signal
  stopping('x');
  if (stopping(scope.signal)) return 0;
  return (
    (await length) +
    (await text).length +
    (await other).length +
    all.length +
    outcomes.length +
    (first === 1 ? 1 : 0)
  );
}

export async function main(): Promise<boolean> {
  await using scope = new Scope();
  using kc = new Kcont(wq.prihigh, mutex, () => {}, 1, { scope });
  using held = await mutex.hold();
  void held;
  return kc.schedule();
}

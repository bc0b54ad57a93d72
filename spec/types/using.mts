// A consumer that declares with `using`: TypeScript >= 5.2. See README.md.
import { Kcont, Mutex, Scope, wq } from 'kcont';

const mutex = new Mutex();

export async function main(): Promise<boolean> {
  await using scope = new Scope();
  using kc = new Kcont(wq.prihigh, mutex, () => {}, 1, { scope });
  using held = await mutex.hold();
  void held;
  return kc.schedule();
}

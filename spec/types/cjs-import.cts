// A CommonJS consumer, any TypeScript: types by resolution-mode, values by import(). See README.md.
import type { Kcont } from 'kcont' with { 'resolution-mode': 'import' };

async function make(): Promise<Kcont<string>> {
  const { Mutex } = await import('kcont');
  const { kcont_create, wq_softnet } = await import('kcont/kern');
  return kcont_create(wq_softnet, new Mutex(), () => {}, 'x', 0);
}

export = { make };

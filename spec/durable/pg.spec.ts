import { expect } from 'chai';
import { describe, it } from 'mocha';
import { runModule } from '../support/child.ts';

const backend = new URL('../../lib/durable/graphile/index.js', import.meta.url).href;

/** A module as Node sees pg before 8.15: everything is a property of the default export. */
const OLD = `import { createRequire } from 'node:module';
  export default createRequire(${JSON.stringify(backend)})('pg');`;

/** Hooks that load that module whenever a module of ESM imports pg. */
const HOOKS = `export async function resolve(specifier, context, next) {
  return specifier === 'pg'
    ? { url: ${JSON.stringify(`data:text/javascript,${encodeURIComponent(OLD)}`)}, shortCircuit: true }
    : next(specifier, context);
}`;

describe('graphile() with a pg before 8.15', () => {
  it('imports it, although it has no exports by name', async () => {
    const { out, err } = await runModule(`
      import { register } from 'node:module';
      // Deprecated in Node 26; its successor is not in Node 20.
      process.noDeprecation = true;
      register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(HOOKS)}`)});
      const names = Object.keys(await import('pg'));
      const { graphile } = await import(${JSON.stringify(backend)});
      console.log(names.join(), graphile({ connectionString: 'postgres://host' }).caps.durable);
    `);
    expect(err).to.equal('');
    expect(out).to.deep.equal(['default true']);
  });
});

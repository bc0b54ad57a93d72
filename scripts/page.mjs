// Bundles the inspector's page, which runs in a browser, into one file beside its HTML and CSS:
//
//   node scripts/page.mjs build/lib    for specs and examples
//   node scripts/page.mjs dist         called by scripts/build.mjs

import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'rolldown';

const SOURCE = 'lib/observe/inspector/page';

/** @param {string} out - where the compiled lib/ is */
export async function buildPage(out) {
  const folder = join(out, 'observe/inspector/page');
  mkdirSync(folder, { recursive: true });
  for (const name of ['index.html', 'style.css', 'views.css'])
    copyFileSync(join(SOURCE, name), join(folder, name));
  await build({
    input: join(SOURCE, 'main.ts'),
    platform: 'browser',
    transform: { target: 'es2022' },
    output: {
      file: join(folder, 'main.js'),
      format: 'esm',
      comments: { jsdoc: false, annotation: false, legal: false },
    },
    logLevel: 'warn',
  });
}

const [, script, out] = process.argv;
if (script?.endsWith('page.mjs') === true && out !== undefined) await buildPage(out);

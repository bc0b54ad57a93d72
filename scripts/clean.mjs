// node scripts/clean.mjs FOLDER…: removes what an earlier build left, so that nothing stale is
// shipped or run.

import { rmSync } from 'node:fs';

for (const folder of process.argv.slice(2)) rmSync(folder, { recursive: true, force: true });

// p-queue 10 in the place of p-queue 9: the same specs, in a copy of what they need, where `p-queue`
// is the other one.

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { after, describe, it } from 'mocha';

/** What holds lib/ and spec/: the repository, or its folder build/. */
const home = dirname(dirname(import.meta.dirname));
const ROOT = basename(home) === 'build' ? dirname(home) : home;
const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
const SPECS = ['p-queue', 'shutdown'].map((name) => `spec/fronts/${name}.spec${ending}`);

describe('kcont/p-queue on p-queue 10', function () {
  this.timeout(60_000);
  const copy = join(ROOT, 'temp', 'p-queue-10');
  after(() => {
    rmSync(copy, { recursive: true, force: true });
  });

  it('keeps what it promises on p-queue 9', async () => {
    rmSync(copy, { recursive: true, force: true });
    for (const part of ['lib', 'spec/support', ...SPECS]) {
      cpSync(join(home, part), join(copy, part), { recursive: true });
    }
    mkdirSync(join(copy, 'node_modules'));
    symlinkSync(join(ROOT, 'node_modules/p-queue-10'), join(copy, 'node_modules/p-queue'), 'dir');
    const mocha = fileURLToPath(import.meta.resolve('mocha/bin/mocha.js'));
    const flags = ['--expose-gc', mocha, '--no-config', '--reporter', 'json'];
    const said = await new Promise<string>((resolve) => {
      execFile(process.execPath, [...flags, ...SPECS], { cwd: copy }, (_, out, err) =>
        resolve(out || err),
      );
    });
    const { stats, failures } = JSON.parse(said) as {
      stats: { passes: number };
      failures: { fullTitle: string; err: { message: string } }[];
    };
    expect(failures.map(({ fullTitle, err }) => `${fullTitle}: ${err.message}`)).to.deep.equal([]);
    expect(stats.passes).to.be.above(60);
  });
});

// A dot per spec on the terminal, failures in full behind them, and the counts in a file for whoever reads them by machine:
//   --reporter scripts/reporter.mjs --reporter-option output=FILE

// A process that does not end by itself after the last spec is ended, says what kept it, and has failed.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout } from 'node:timers';
import Mocha from 'mocha';

/** How long what the specs have left may keep the process. */
const LINGER_MS = 20_000;

export default class extends Mocha.reporters.Dot {
  /**
   * @param {Mocha.Runner} runner
   * @param {Mocha.MochaOptions} options
   */
  constructor(runner, options) {
    super(runner, options);
    const file = options.reporterOptions.output;
    // A run that dies half-way must not leave the counts of the run before it.
    rmSync(file, { force: true });
    runner.once('end', () => {
      const { passes, failures, pending, duration } = this.stats;
      mkdirSync(dirname(file), { recursive: true });
      const write = (/** @type {number} */ failed) => {
        const counts = { passes, failures: failed, pending, durationMs: duration };
        writeFileSync(file, `${JSON.stringify(counts)}\n`);
      };
      write(failures);
      setTimeout(() => {
        const kept = process.getActiveResourcesInfo().join(', ');
        console.error(`The specs are over, but the process goes on. It has: ${kept}`);
        write(failures + 1);
        process.exit(1);
      }, LINGER_MS).unref();
    });
  }
}

// A dot per spec on the terminal, failures in full behind them, and the counts in a file for whoever reads them by machine:
//   --reporter scripts/reporter.mjs --reporter-option output=FILE

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import Mocha from 'mocha';

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
      writeFileSync(
        file,
        `${JSON.stringify({ passes, failures, pending, durationMs: duration })}\n`,
      );
    });
  }
}

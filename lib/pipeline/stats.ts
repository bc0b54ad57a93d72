import type { PipelineRunner } from './runner.ts';
import type { Stage } from './stage.ts';

/**
 * What a stage has to do, and has done.
 *
 * @public
 */
export interface StageStats {
  /** Its name. */
  readonly name: string;
  /** The name of the workqueue that was chosen for it. */
  readonly wq: string;
  /** Items in it whose function has not been entered. */
  readonly queued: number;
  /** Items whose function has been entered and has not settled. */
  readonly running: number;
  /** Items that are done and find the next stage full. */
  readonly blocked: number;
  /** How many functions may be in flight. */
  readonly limit: number;
  /** How many items it holds besides those. */
  readonly buffer: number;
  /** Keys that have items in the pipeline; undefined: no `keyBy` before this stage. */
  readonly keys: number | undefined;
  /** Items that went on from here. */
  readonly passed: number;
  /** Items that failed here, or waiting for it. */
  readonly failed: number;
}

/**
 * What a pipeline has to do, and has done.
 *
 * @public
 */
export interface PipelineStats {
  /** Its name. */
  readonly name: string;
  /** Whether it takes items, finishes what is inside, or is done for good. */
  readonly state: 'open' | 'closing' | 'closed';
  /** Items accepted and not finished. */
  readonly size: number;
  /** How many of them wait for a place at the first stage. */
  readonly waiting: number;
  /** Items that came to their end. */
  readonly done: number;
  /** Items that did not. */
  readonly failed: number;
  /** The stages, in their order. */
  readonly stages: readonly StageStats[];
}

/**
 * The figures of this moment.
 *
 * @internal
 */
export function statsOf(runner: PipelineRunner): PipelineStats {
  const { name, size, done, failed, closed, first } = runner;
  return {
    name,
    state: closed ? (size > 0 ? 'closing' : 'closed') : 'open',
    size,
    waiting: first.admission.size,
    done,
    failed,
    stages: runner.stages.map((stage) => statsOfStage(stage)),
  };
}

function statsOfStage(stage: Stage): StageStats {
  const { name, queueName, inside, running, blocked, limit, buffer, keys, passed, failed } = stage;
  return {
    name,
    wq: queueName,
    queued: inside - running - blocked,
    running,
    blocked,
    limit,
    buffer,
    keys: keys?.size,
    passed,
    failed,
  };
}

/**
 * The pipeline as a drawing: a line per stage, top down.
 *
 * @internal
 */
export function draw(runner: PipelineRunner): string {
  const { name, state, size, waiting, done, failed, stages } = statsOf(runner);
  const cells = stages.map((stage) => [
    stage.name,
    stage.wq,
    `${stage.queued} queued`,
    `${stage.running} of ${bound(stage.limit)} running`,
    `${stage.blocked} blocked`,
    `${stage.passed} passed`,
    `${stage.failed} failed`,
  ]);
  const widths = [0, 1, 2, 3, 4, 5, 6].map((column) =>
    Math.max(...cells.map((row) => (row[column] as string).length)),
  );
  const lines = [
    `${name}: ${state}, ${size} inside, ${done} done, ${failed} failed`,
    `  ○ ${waiting} waiting`,
  ];
  for (const [index, row] of cells.entries()) {
    const { keys } = runner.stages[index] as Stage;
    lines.push(keys === undefined ? '  │' : `  ┊ in order of ${keys.name}, ${keys.size} inside`);
    // Names to the left, figures to the right.
    const padded = row.map((cell, column) => {
      const width = widths[column] as number;
      return column < 2 ? cell.padEnd(width) : cell.padStart(width);
    });
    lines.push(`  ▼ ${padded.join('   ')}`);
  }
  return [...lines, '  │', `  ● ${done} done`].join('\n');
}

function bound(limit: number): string {
  return limit === Infinity ? '∞' : String(limit);
}

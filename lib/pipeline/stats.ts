import type { PipelineRunner } from './runner.ts';
import type { Stage } from './stage.ts';

/**
 * The current figures of a stage.
 *
 * @public
 */
export interface StageStats {
  /** Its name. */
  readonly name: string;
  /** The name of the workqueue that was chosen for it. */
  readonly wq: string;
  /** Number of items in it whose function has not been entered. */
  readonly queued: number;
  /** Number of items whose function has been entered and has not settled. */
  readonly running: number;
  /** Number of finished items for which the next stage has no slot. */
  readonly blocked: number;
  /** Number of functions that may be in flight. */
  readonly limit: number;
  /** Number of items it holds in addition. */
  readonly buffer: number;
  /** Number of keys with items in the pipeline; undefined without a `keyBy` just before this stage. */
  readonly keys: number | undefined;
  /** Number of items that this stage has finished and passed on. */
  readonly passed: number;
  /** Number of items that failed in it or while waiting for it. */
  readonly failed: number;
}

/**
 * The current figures of a pipeline.
 *
 * @public
 */
export interface PipelineStats {
  /** Its name. */
  readonly name: string;
  /** Whether it accepts items, only finishes those inside, or is closed and empty. */
  readonly state: 'open' | 'closing' | 'closed';
  /** Number of items accepted and not finished. */
  readonly size: number;
  /** Number of items that wait for a slot of the first stage. */
  readonly waiting: number;
  /** Number of items that finished. */
  readonly done: number;
  /** Number of items that failed. */
  readonly failed: number;
  /** The stages, in order. */
  readonly stages: readonly StageStats[];
}

/**
 * Collects the current figures.
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
 * Draws the pipeline as text: a line per stage, from top to bottom.
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
    cells.reduce((most, row) => Math.max(most, (row[column] as string).length), 0),
  );
  const lines = [
    `${name}: ${state}, ${size} inside, ${done} done, ${failed} failed`,
    `  ○ ${waiting} waiting`,
  ];
  for (const [index, row] of cells.entries()) {
    const { keys } = runner.stages[index] as Stage;
    lines.push(keys === undefined ? '  │' : `  ┊ in order of ${keys.name}, ${keys.size} inside`);
    // Names are aligned left, figures right.
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

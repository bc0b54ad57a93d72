/*
 * The runs of the last ten seconds, drawn on a canvas: a row per CPU and workqueue. The upper part of a row is what
 * occupied the event loop, the lower part what was in flight.
 */

import { duration } from './format.ts';
import { endOf, lanesOf, returnOf, runAt, type Lane } from './lanes.ts';
import type { Run } from './run-history.ts';

/** When a run counts as late, and as long. */
export const LATE_MS = 10;
export const LONG_MS = 50;

const LANE_PX = 26;
const BAR_PX = 13;
const OPEN_PX = 4;
const AXIS_PX = 20;
const LABEL_PX = 118;
const NARROW_LABEL_PX = 84;
const NARROW_PX = 520;
const NEAR_PX = 4;

/** The order in which colours are drawn: what needs attention is on top. */
const KINDS = ['run', 'long', 'late', 'failed'] as const;
type KindOfRun = (typeof KINDS)[number];

function kindOf(run: Run, nowMs: number): KindOfRun {
  if (run.failed) return 'failed';
  if (run.waitedMs > LATE_MS) return 'late';
  return returnOf(run, nowMs) - run.enteredMs > LONG_MS ? 'long' : 'run';
}

/** Draws runs, and calls functions for the run that is selected and opened. */
export class Timeline {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #select: (run: Run) => void;
  readonly #open: (run: Run) => void;
  #lanes: Lane[] = [];
  #runs: readonly Run[] = [];
  #nowMs = 0;
  #spanMs = 10_000;
  #backMs = 0;
  #selected: Run | null = null;

  constructor(canvas: HTMLCanvasElement, select: (run: Run) => void, open: (run: Run) => void) {
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d') as CanvasRenderingContext2D;
    this.#select = select;
    this.#open = open;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
    canvas.addEventListener('click', (event) => this.#click(event));
    canvas.addEventListener('keydown', (event) => this.#key(event));
  }

  show(runs: readonly Run[], nowMs: number): void {
    this.#runs = runs;
    this.#nowMs = nowMs;
    this.#lanes = lanesOf(runs);
    this.draw();
  }

  /** Shows this much time, which ended so long before the present. */
  look(spanMs: number, backMs: number): void {
    this.#spanMs = spanMs;
    this.#backMs = backMs;
    this.draw();
  }

  get runs(): readonly Run[] {
    return this.#runs;
  }

  get #fromMs(): number {
    return this.#nowMs - this.#backMs - this.#spanMs;
  }

  get #labelPx(): number {
    return this.#canvas.clientWidth < NARROW_PX ? NARROW_LABEL_PX : LABEL_PX;
  }

  draw(): void {
    const canvas = this.#canvas;
    const height = Math.max(2, this.#lanes.length) * LANE_PX + AXIS_PX;
    const scale = devicePixelRatio;
    canvas.style.height = `${height}px`;
    const width = canvas.clientWidth;
    const pixels = [Math.round(width * scale), Math.round(height * scale)] as const;
    if (canvas.width !== pixels[0]) canvas.width = pixels[0];
    if (canvas.height !== pixels[1]) canvas.height = pixels[1];
    const context = this.#context;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    const color = (name: string): string => style.getPropertyValue(`--${name}`);
    context.font = `12px ${style.fontFamily}`;
    this.#drawAxis(width, height, color);
    for (const [index, lane] of this.#lanes.entries()) {
      this.#drawLane(lane, index * LANE_PX, width, color);
    }
    const first = this.#runs[0];
    const seen = first === undefined ? 'no runs' : `${this.#runs.length} runs`;
    canvas.setAttribute(
      'aria-label',
      `Timeline: ${seen} in ${this.#lanes.length} rows; ${duration(this.#spanMs)} are shown`,
    );
  }

  #drawAxis(width: number, height: number, color: (name: string) => string): void {
    const context = this.#context;
    const left = this.#labelPx;
    const steps = width < NARROW_PX ? 2 : 5;
    context.textBaseline = 'middle';
    for (let step = 0; step <= steps; step++) {
      const x = left + ((width - left) * step) / steps;
      context.fillStyle = color('grid');
      context.fillRect(Math.min(x, width - 1), 0, 1, height - AXIS_PX);
      const backMs = Math.round(this.#backMs + (this.#spanMs * (steps - step)) / steps);
      context.fillStyle = color('weak');
      context.textAlign = step === steps ? 'right' : step === 0 ? 'left' : 'center';
      const text = backMs === 0 ? 'now' : `−${duration(backMs)}`;
      context.fillText(text, Math.min(x, width - 4), height - AXIS_PX / 2);
    }
    context.textAlign = 'left';
  }

  #drawLane(lane: Lane, top: number, width: number, color: (name: string) => string): void {
    const context = this.#context;
    const left = this.#labelPx;
    const fromMs = this.#fromMs;
    const perMs = (width - left) / this.#spanMs;
    context.fillStyle = color('grid');
    context.fillRect(0, top + LANE_PX - 1, width, 1);
    context.fillStyle = color('text');
    context.fillText(`${lane.cpu}  ${lane.workqueue}`, 6, top + LANE_PX / 2, left - 12);
    const bars: Record<KindOfRun, number[]> = { run: [], long: [], late: [], failed: [] };
    const ends: Record<KindOfRun, number> = { run: -1, long: -1, late: -1, failed: -1 };
    let openEnd = -1;
    context.fillStyle = color('run');
    for (const run of lane.runs) {
      const endMs = endOf(run, this.#nowMs);
      if (endMs < fromMs) continue;
      const x = Math.max(left, left + (run.enteredMs - fromMs) * perMs);
      if (x > width) break;
      if (run.isAsync) {
        const end = left + (endMs - fromMs) * perMs;
        // What is covered already is not drawn again.
        if (end > openEnd) {
          const begin = Math.max(x, openEnd);
          context.fillRect(begin, top + BAR_PX + 6, Math.max(1, end - begin), OPEN_PX);
          openEnd = end;
        }
      }
      const returned = left + (returnOf(run, this.#nowMs) - fromMs) * perMs;
      if (returned < left) continue;
      const kind = kindOf(run, this.#nowMs);
      const right = Math.max(returned, x + 1);
      if (right <= ends[kind]) continue;
      ends[kind] = right;
      bars[kind].push(x, right);
    }
    for (const kind of KINDS) {
      context.fillStyle = color(kind);
      const list = bars[kind];
      for (let at = 0; at < list.length; at += 2) {
        const x = list[at] as number;
        context.fillRect(x, top + 4, (list[at + 1] as number) - x, BAR_PX);
      }
    }
    const selected = this.#selected;
    if (selected === null || !lane.runs.includes(selected)) return;
    const x = left + (selected.enteredMs - fromMs) * perMs;
    const right = left + (returnOf(selected, this.#nowMs) - fromMs) * perMs;
    if (right < left || x > width) return;
    context.strokeStyle = color('text');
    context.lineWidth = 2;
    context.strokeRect(
      Math.max(left, x) - 2,
      top + 2,
      Math.max(1, right - Math.max(left, x)) + 4,
      BAR_PX + 4,
    );
  }

  #click(event: MouseEvent): void {
    const { clientWidth: width } = this.#canvas;
    const lane = this.#lanes[Math.floor(event.offsetY / LANE_PX)];
    const left = this.#labelPx;
    if (lane === undefined || event.offsetX < left) return;
    const msPerPx = this.#spanMs / (width - left);
    const atMs = this.#fromMs + (event.offsetX - left) * msPerPx;
    const run = runAt(lane, atMs, NEAR_PX * msPerPx, this.#nowMs);
    if (run === undefined) return;
    this.#choose(run);
    this.#open(run);
  }

  #choose(run: Run): void {
    this.#selected = run;
    this.#select(run);
    this.draw();
  }

  #key(event: KeyboardEvent): void {
    const selected = this.#selected;
    if (event.key === 'Enter' && selected !== null) {
      event.preventDefault();
      this.#open(selected);
      return;
    }
    const run = this.#neighbour(event.key);
    if (run === undefined) return;
    event.preventDefault();
    this.#choose(run);
  }

  /** The run that an arrow key leads to. */
  #neighbour(key: string): Run | undefined {
    if (!['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End'].includes(key)) {
      return undefined;
    }
    const at = this.#lanes.findIndex(({ runs }) => runs.includes(this.#selected as Run));
    const lane = this.#lanes[Math.max(0, at)];
    if (lane === undefined || this.#selected === null || at === -1) return lane?.runs.at(-1);
    if (key === 'Home') return lane.runs[0];
    if (key === 'End') return lane.runs.at(-1);
    const { enteredMs } = this.#selected;
    if (key === 'ArrowUp' || key === 'ArrowDown') {
      const next = this.#lanes[at + (key === 'ArrowUp' ? -1 : 1)];
      return next?.runs.findLast((run) => run.enteredMs <= enteredMs) ?? next?.runs[0];
    }
    const place = lane.runs.indexOf(this.#selected) + (key === 'ArrowLeft' ? -1 : 1);
    return lane.runs[place];
  }
}

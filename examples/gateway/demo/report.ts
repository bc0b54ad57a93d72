import type { Death, Stall } from './messages.ts';
import { STALL_MS } from './plan.ts';
import type { Plan } from './plan.ts';
import type { RoundResult } from './round.ts';

/** Tolerance for the detection of a dead device, in ms, because the machine is shared. */
const LATE_MS = 500;

/** Time in which the gateway processes its backlog after a stall, in ms. */
const RECOVERY_MS = 100;

/** With a smaller share of a core, the server is late whatever it does. */
export const ENOUGH_CPU = 0.7;

/** The result of the two rounds. */
export interface Findings {
  readonly table: string;
  /** The broken promises of kcont, a sentence each. */
  readonly broken: readonly string[];
  /** Possible breaches that an overloaded machine may have caused. */
  readonly excused: readonly string[];
  /** Expected differences that this run did not show, with the reason. */
  readonly notShown: readonly string[];
}

interface Figures {
  readonly late: number;
  readonly never: number;
  readonly left: number;
  readonly lostReadings: number;
  readonly calm: readonly number[];
  readonly all: readonly number[];
}

/** Compares the rounds, and checks the promises of kcont. */
export function findings(plan: Plan, kcont: RoundResult, timeout: RoundResult): Findings {
  const rounds = [kcont, timeout];
  const figures = rounds.map((round) => figuresOf(round));
  const rows: string[][] = [['', 'kcont', 'setTimeout']];
  const row = (label: string, of: (round: RoundResult, figure: Figures) => string): void => {
    const [k, t] = rounds.map((round, i) => of(round, figures[i] as Figures));
    rows.push([label, k ?? '', t ?? '']);
  };
  const rule = (): void => void rows.push([]);

  rule();
  row('live connections killed by mistake', (r) => whole(r.load.killed));
  row('  cut while the load itself was late, so not judged', (r) => whole(r.load.notJudged));
  row('dead devices', (r) => whole(r.load.deaths.length + r.load.vanished));
  row(`  found late, by more than ${LATE_MS} ms`, (_, f) => whole(f.late));
  row('  never found', (_, f) => whole(f.never));
  row('timers or continuations left after close', (_, f) => whole(f.left));
  rule();
  row('readings stored', (r) => whole(r.linesInFile));
  row('  accepted or acknowledged, but not stored', (_, f) => whole(f.lostReadings));
  row('commands sent / sent again / in vain', (r) => {
    const { commands, resent } = r.closed.report.counters;
    return `${whole(commands)} / ${whole(resent)} / ${whole(r.load.commandCopies)}`;
  });
  row('malformed lines answered', (r) => whole(r.closed.report.counters.malformed));
  row('connections parted from at SIGTERM, in ms', (r) => {
    const { parted, tookMs } = r.closed.report;
    return `${whole(parted)}, ${whole(tookMs)}`;
  });
  rule();
  row('PING round trip between stalls, p50 / p99', (_, f) => spread(f.calm));
  row('PING round trip with the stalls, p50 / p99', (_, f) => spread(f.all));
  row('share of a core the server could get, at worst', (r) => `${whole(cpuShare(r) * 100)} %`);
  row('server CPU seconds, stalls not counted', (r) => r.closed.cpuSeconds.toFixed(2));
  row('server heap per connection', (r) => `${(r.heapEach / 1024).toFixed(1)} KiB`);

  const heading =
    `The same gateway twice: ${whole(plan.devices)} devices for ${(plan.forMs / 1000).toFixed(1)} s, ` +
    `the server stalled for ${STALL_MS} ms ${plan.stalls.length} times\n(${kindsOf(kcont.stalls)})`;
  return {
    table: `${heading}\n\n${layOut(rows)}`,
    ...judge(kcont, figures[0] as Figures),
    notShown: notShown(timeout),
  };
}

function judge(round: RoundResult, figures: Figures): Pick<Findings, 'broken' | 'excused'> {
  const { load, closed } = round;
  const { waiting, unfinished, lost } = closed.report;
  const broken: string[] = [];
  /** Failures that an overloaded machine can cause as well. */
  const tooLate: string[] = [];
  const expect = (kept: boolean, sentence: string, list = broken): void => {
    if (!kept) list.push(sentence);
  };
  const reasons = [...load.killedFor].map(([reason, times]) => `${reason} ${times}`).join(', ');
  expect(load.killed === 0, `${load.killed} live connections were killed by mistake (${reasons})`);
  expect(
    waiting.length === 0,
    `left over after close, not begun: ${[...new Set(waiting)].join(', ')}`,
  );
  expect(closed.hostTimers === 0, `${closed.hostTimers} host timers were alive after close`);
  expect(round.exitCode === 0, `the server ended with exit code ${round.exitCode}`);
  expect(lost === 0, `${lost} readings could not be written`);
  expect(figures.lostReadings === 0, `${figures.lostReadings} readings are missing in the file`);
  expect(figures.never === 0, `${figures.never} dead devices were never found`, tooLate);
  expect(
    unfinished.length === 0,
    `left over after close, not ended: ${[...new Set(unfinished)].join(', ')}`,
    tooLate,
  );
  expect(figures.late === 0, `${figures.late} dead devices were found late`, tooLate);
  const unanswered = load.byesSaid - load.byesAnswered;
  expect(unanswered === 0, `${unanswered} devices said BYE and got no answer in time`, tooLate);
  const starved = cpuShare(round) < ENOUGH_CPU;
  const cut = `${load.notJudged} connections were cut off by mistake`;
  const excused = load.notJudged > 0 ? [cut] : [];
  if (starved) return { broken, excused: [...excused, ...tooLate] };
  return { broken: [...broken, ...tooLate], excused };
}

/** Lists the expected failures of the setTimeout gateway that this run did not show. */
function notShown({ load, stalls }: RoundResult): readonly string[] {
  if (load.killed > 0) return [];
  const hit = 'live connections killed by setTimeout';
  if (load.notJudged > 0) {
    return [
      `${hit}: ${whole(load.notJudged)} were cut off, but the load was up to ` +
        `${whole(load.worstLagMs)} ms late itself just then, so nobody can tell whether they lived`,
    ];
  }
  return [`${hit}: none of the ${stalls.length} stalls met one`];
}

function figuresOf(round: RoundResult): Figures {
  const { load, closed, stalls } = round;
  const { report } = closed;
  const allowance = LATE_MS + load.worstLagMs; // delays of the load are not delays of the gateway
  const late = load.deaths.filter((death) => lateBy(death, stalls) > allowance).length;
  const never = load.deaths.filter((death) => death.foundAt === null).length;
  const all: number[] = [];
  const calm: number[] = [];
  for (let i = 0; i < load.pings.length; i += 2) {
    const sentAt = load.pings[i] as number;
    const tookMs = load.pings[i + 1] as number;
    all.push(tookMs);
    if (stalledWithin(sentAt, sentAt + tookMs, stalls, RECOVERY_MS) === 0) calm.push(tookMs);
  }
  return {
    late,
    never: never + round.ghosts,
    left: report.waiting.length + report.unfinished.length + closed.hostTimers,
    lostReadings: Math.max(report.accepted, load.readingsAcked) - round.linesInFile,
    calm: calm.toSorted((a, b) => a - b),
    all: all.toSorted((a, b) => a - b),
  };
}

/** Returns how late a dead device was detected, in ms, not counting stalls of the server. */
function lateBy(death: Death, stalls: readonly Stall[]): number {
  if (death.foundAt === null) return 0;
  const tookMs = death.foundAt - death.at - stalledWithin(death.at, death.foundAt, stalls, 0);
  return tookMs - death.allowedMs;
}

/** Returns the smallest share of a core that the server got while it used all it could. */
function cpuShare(round: RoundResult): number {
  return Math.min(...round.stalls.map((stall) => stall.cpuShare));
}

function stalledWithin(
  from: number,
  to: number,
  stalls: readonly Stall[],
  recoveryMs: number,
): number {
  let sum = 0;
  for (const stall of stalls) {
    sum += Math.max(0, Math.min(to, stall.to + recoveryMs) - Math.max(from, stall.from));
  }
  return sum;
}

function spread(sorted: readonly number[]): string {
  if (sorted.length === 0) return '–';
  return `${ms(quantile(sorted, 0.5))} / ${ms(quantile(sorted, 0.99))}`;
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] as number;
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function kindsOf(stalls: readonly Stall[]): string {
  const counts = new Map<string, number>();
  for (const { kind } of stalls) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, times]) => `${times} × in ${kind}`).join(', ');
}

function layOut(rows: readonly (readonly string[])[]): string {
  const widths = [0, 1, 2].map((i) => Math.max(...rows.map((cells) => cells[i]?.length ?? 0)));
  const total = widths.reduce((sum, width) => sum + width, 0) + 6;
  return rows
    .map(([label, ...cells]) => {
      if (label === undefined) return '─'.repeat(total);
      const padded = cells.map((cell, i) => cell.padStart((widths[i + 1] ?? 0) + 3));
      return label.padEnd(widths[0] ?? 0) + padded.join('');
    })
    .join('\n');
}

// Programs of timers and jobs that block, which show what keeps a process alive: their definition, how a
// child process runs one with Node's own timers, with continuations or with kcont/timers, and what must
// be true of each trace.
import { execFile } from 'node:child_process';
import { burn } from './busy.ts';

/** A timer, or with `ms: 0` a job. */
export interface Item {
  readonly id: string;
  readonly ref: boolean;
  readonly ms: number;
  /** How long its callback blocks the loop, in ms. */
  readonly blockMs: number;
  /** How often it arms itself again; Infinity: always. */
  readonly again: number;
  /** The items that its callback creates and arms, at its first run. */
  readonly arms: readonly Item[];
  /** The items that its callback refs or unrefs, if they have been created. */
  readonly toggles: readonly { readonly id: string; readonly ref: boolean }[];
  /** Its callback arms a referenced timer and stops it. */
  readonly pulses: boolean;
}

export const IMPLEMENTATIONS = ['node', 'kcont', 'kcont/timers'] as const;
export type Implementation = (typeof IMPLEMENTATIONS)[number];

interface Entry {
  readonly id: string;
  readonly ms: number;
  /** The times between which its delay ended. */
  readonly fromMs: number;
  readonly toMs: number;
}

interface Ran extends Entry {
  readonly ref: boolean;
}

export interface Trace {
  readonly code: number;
  /** What ran, in order. */
  readonly ran: readonly Ran[];
  /** The items that were armed when the process ended. */
  readonly left: readonly Ran[];
}

/** Ends a process that is wrongly kept alive; this timer does not keep it alive itself. */
const HELD_MS = 20_000;

const moduleOf = (path: string): string =>
  JSON.stringify(new URL(`../../lib/${path}${import.meta.url.slice(-3)}`, import.meta.url).href);

/** The code that creates an armed handle of each implementation: `arm`, `stop`, `ref`. */
const MAKERS: Record<Implementation, string> = {
  node: `
    const make = (call, ms, ref) => {
      let timer;
      return {
        arm() {
          timer = ms === 0 ? setImmediate(call) : setTimeout(call, ms);
          if (!ref) timer.unref();
        },
        stop() { ms === 0 ? clearImmediate(timer) : clearTimeout(timer); },
        ref(on) { ref = on; if (on) timer.ref(); else timer.unref(); },
      };
    };`,
  kcont: `
    const { Kcont, wq } = await import(${moduleOf('index')});
    const make = (call, ms, ref) => {
      const kc = new Kcont(wq.softclock, null, call, null, { ref });
      return {
        arm() { kc.reset(ms); },
        stop() { kc.stop(); },
        ref(on) { if (on) kc.ref(); else kc.unref(); },
      };
    };`,
  'kcont/timers': '',
};
MAKERS['kcont/timers'] = `
    const { setTimeout, clearTimeout, setImmediate, clearImmediate } = await import(${moduleOf('compat/timers/index')});
    ${MAKERS.node}`;

const PLAYER = `
  const burn = ${burn.toString()};
  setTimeout(() => process.exit(9), ${HELD_MS}).unref();
  const ran = [], armed = new Map(), handles = new Map();
  process.on('exit', () => console.log(JSON.stringify({ ran, left: [...armed.values()] })));
  function begin(item) {
    const { id, ms, blockMs, again } = item;
    let left = again ?? Infinity;
    let first = true;
    let entry;
    const call = () => {
      armed.delete(entry);
      if (first || ms > 0) ran.push(entry);
      if (left-- > 0) handle.again();
      if (first) for (const next of item.arms) begin(next);
      first = false;
      for (const toggle of item.toggles) handles.get(toggle.id)?.turn(toggle.ref);
      if (item.pulses) pulse.again();
      if (item.pulses) pulse.stop();
      burn(blockMs);
    };
    const raw = make(call, ms, item.ref);
    const pulse = pulseOf();
    let { ref } = item;
    const handle = {
      again() {
        entry = { id, ms, ref, fromMs: performance.now() + ms };
        armed.set(entry, entry);
        raw.arm();
        entry.toMs = performance.now() + ms;
      },
      turn(on) { ref = on; entry.ref = on; raw.ref(on); },
    };
    handles.set(id, handle);
    handle.again();
  }
  function pulseOf() {
    const raw = make(() => undefined, 5000, true);
    return { again: () => raw.arm(), stop: () => raw.stop() };
  }
  for (const item of PROGRAM) begin(item);
`;

/** Runs a program in its own process. */
export function play(program: readonly Item[], by: Implementation): Promise<Trace> {
  const source = `${MAKERS[by]}\nconst PROGRAM = ${JSON.stringify(program)};\n{${PLAYER}}`;
  return new Promise((resolve, reject) => {
    const args = ['--input-type=module', '--eval', source];
    const child = execFile(process.execPath, args, { timeout: 60_000 }, (_, out, err) => {
      if (err !== '') reject(new Error(`${by}: ${err}`));
      else {
        const trace = JSON.parse(out) as Omit<Trace, 'code'>;
        resolve({ ...trace, code: child.exitCode ?? -1 });
      }
    });
  });
}

/** A delay is over at the end of a tick. */
const TICK_MS = 2;

/** Returns what is wrong with the end of a process. */
export function faults({ code, left }: Trace): string[] {
  const lost = left.filter(({ ref }) => ref).map(({ id }) => `${id} was lost`);
  if (code === 0) return lost;
  return [code === 9 ? 'held' : `code ${code}`, ...lost];
}

/** Returns the timers that did not run in the order in which they were due. Node has lists by delay. */
export function disorder({ ran, left }: Trace): string[] {
  const found: string[] = [];
  let latest = 0;
  for (const { id, fromMs, toMs } of ran.filter(({ ms }) => ms > 0)) {
    if (toMs < latest - TICK_MS) found.push(`${id} ran late`);
    latest = Math.max(latest, fromMs);
  }
  for (const { id, toMs } of left.filter(({ ms }) => ms > 0)) {
    if (toMs < latest - TICK_MS) found.push(`${id} was passed over`);
  }
  return found;
}

/** In which order the items ran for the first time. */
export function order({ ran }: Trace): string[] {
  return [...new Set(ran.map(({ id }) => id))];
}

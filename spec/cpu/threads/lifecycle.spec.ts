// The lifecycle of a CPU, with simulated threads: every request in every state.
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { Kcont, KcontError, Kernel, VirtualClock } from '../../../lib/index.ts';
import type { Cpu } from '../../../lib/index.ts';
import { Lifecycle, type LifeCalls, type Phase } from '../../../lib/cpu/threads/lifecycle.ts';
import type { Thread, ThreadCalls } from '../../../lib/cpu/threads/worker.ts';
import { soak } from '../../support/lab.ts';

const TIMEOUT_MS = 1000;
const GRACE_MS = 100;
const END_MS = 500;

/** A thread that does what the spec says. */
interface Played {
  readonly calls: ThreadCalls;
  readonly told: string[];
  isTerminated: boolean;
}

/** One lifecycle, on a clock that stands still. */
class Play {
  readonly clock = new VirtualClock();
  readonly kernel = new Kernel({ clock: this.clock });
  readonly log: string[] = [];
  /** The threads that have not ended. */
  readonly threads: Played[] = [];
  mostThreads = 0;
  /** Whether making a thread fails. */
  isBroken = false;
  readonly life: Lifecycle;

  constructor(isReserve = false) {
    const calls: LifeCalls = {
      url: 'file:///work.js',
      timeoutMs: TIMEOUT_MS,
      backoffMs: (failures) => 10 + 10 * failures,
      nowMs: () => this.clock.now,
      timer: (callback) =>
        new Kcont(this.kernel.wq.softclock, null, callback, null, { ref: false }),
      make: (_, threadCalls) => this.#make(threadCalls),
      made: () => undefined,
      up: () => void this.log.push('up'),
      stopping: () => undefined,
      ended: (_, __, cause, wasEnded) =>
        void this.log.push(`ended: ${(cause as Error).message}${wasEnded ? ', by CPU 0' : ''}`),
      say: (_, error) => void this.log.push(error?.message ?? 'stopped'),
    };
    this.life = new Lifecycle({ index: 1 } as Cpu, isReserve, calls);
  }

  #make(calls: ThreadCalls): Thread {
    if (this.isBroken) throw new Error('no more threads');
    const played: Played = { calls, told: [], isTerminated: false };
    this.threads.push(played);
    this.mostThreads = Math.max(this.mostThreads, this.threads.length);
    const thread = {
      end: ({ type }: { type: string }) => void played.told.push(type),
      terminate: () => {
        played.isTerminated = true;
      },
    };
    return thread as unknown as Thread;
  }

  get thread(): Played {
    return this.threads.at(-1) as Played;
  }

  /** The thread ends. */
  exit(code = 0): void {
    this.threads.pop()?.calls.ended({ code, error: undefined });
  }

  /** Brings the CPU into a state by the shortest way. */
  in(phase: Phase): this {
    if (phase === 'down') return this;
    this.life.start().catch(() => undefined);
    if (phase === 'starting') return this;
    this.thread.calls.up();
    if (phase === 'stopping' || phase === 'ending') void this.life.stop(GRACE_MS);
    if (phase === 'ending') this.thread.calls.reported();
    if (phase === 'backoff') this.exit(1);
    this.log.length = 0;
    expect(this.life.phase).to.equal(phase);
    return this;
  }
}

/** The outcome of a promise as a word; `waits` if it has not settled. */
function followed(promise: Promise<void>): { is: string } {
  const seen = { is: 'waits' };
  promise.then(
    () => (seen.is = 'fulfilled'),
    (error: unknown) => (seen.is = (error as KcontError).code),
  );
  return seen;
}

type Request = 'start' | 'restart' | 'stop' | 'kill' | 'close';

function ask(play: Play, request: Request): Promise<void> {
  const { life } = play;
  switch (request) {
    case 'start':
      return life.start();
    case 'restart':
      return life.restart(GRACE_MS / 2);
    case 'stop':
      return life.stop(GRACE_MS / 2);
    case 'kill':
      return life.kill();
    case 'close':
    default:
      life.shut(new KcontError('ESHUTDOWN', 'closed'));
      life.close(GRACE_MS / 2);
      return life.finish();
  }
}

describe('the lifecycle of a CPU', () => {
  /*
   * By state and request: the state after it; what the thread has been told; then what the promise is,
   * and the state, when the thread has ended; and the same when the next one is up.
   */
  const rows: readonly (readonly [Phase, Request, string])[] = [
    ['down', 'start', 'starting | | fulfilled up'],
    ['starting', 'start', 'starting | | fulfilled up'],
    ['up', 'start', 'up | | fulfilled up'],
    ['stopping', 'start', 'stopping | stop | waits starting | fulfilled up'],
    ['ending', 'start', 'ending | stop | waits starting | fulfilled up'],
    ['backoff', 'start', 'starting | | fulfilled up'],
    ['down', 'restart', 'starting | | fulfilled up'],
    ['starting', 'restart', 'starting | | fulfilled up'],
    ['up', 'restart', 'stopping | stop | waits starting | fulfilled up'],
    ['stopping', 'restart', 'stopping | stop | waits starting | fulfilled up'],
    ['ending', 'restart', 'ending | stop | waits starting | fulfilled up'],
    ['backoff', 'restart', 'starting | | fulfilled up'],
    ['down', 'stop', 'down | | fulfilled down'],
    ['starting', 'stop', 'ending | terminated | fulfilled down'],
    ['up', 'stop', 'stopping | stop | fulfilled down'],
    ['stopping', 'stop', 'stopping | stop | fulfilled down'],
    ['ending', 'stop', 'ending | stop | fulfilled down'],
    ['backoff', 'stop', 'down | | fulfilled down'],
    ['down', 'kill', 'down | | fulfilled down'],
    ['starting', 'kill', 'ending | terminated | fulfilled down'],
    ['up', 'kill', 'ending | terminated | fulfilled down'],
    ['stopping', 'kill', 'ending | stop terminated | fulfilled down'],
    ['ending', 'kill', 'ending | stop terminated | fulfilled down'],
    ['backoff', 'kill', 'down | | fulfilled down'],
    ['down', 'close', 'down | | fulfilled down'],
    ['starting', 'close', 'ending | terminated | fulfilled down'],
    ['up', 'close', 'ending | close over | fulfilled down'],
    ['stopping', 'close', 'ending | stop over | fulfilled down'],
    ['ending', 'close', 'ending | stop | fulfilled down'],
    ['backoff', 'close', 'down | | fulfilled down'],
  ];

  for (const [phase, request, expected] of rows) {
    it(`goes on as the diagram says: ${phase}, ${request}`, async () => {
      const play = new Play().in(phase);
      const before = play.threads.at(-1);
      const promise = followed(ask(play, request));
      const { life } = play;
      const told = [
        ...(before?.told ?? []),
        ...(before?.isTerminated === true ? ['terminated'] : []),
      ];
      const seen = [life.phase, told.join(' ')];
      if (life.phase === 'stopping' || life.phase === 'ending') {
        play.exit();
        await Promise.resolve();
        seen.push(`${promise.is} ${life.phase}`);
      }
      if (life.phase === 'starting') play.thread.calls.up();
      await new Promise(setImmediate);
      seen.push(`${promise.is} ${life.phase}`);
      expect([...new Set(seen)].join(' | ').replaceAll(' |  |', ' | |')).to.equal(expected);
      expect(play.mostThreads).to.be.at.most(1);
    });
  }

  it('joins restarts that are asked for at once: one thread follows', async () => {
    const play = new Play().in('up');
    const promises = [1, 2, 3].map(() => followed(play.life.restart(GRACE_MS)));
    play.exit();
    play.thread.calls.up();
    await new Promise(setImmediate);
    expect(promises.map(({ is }) => is)).to.deep.equal(['fulfilled', 'fulfilled', 'fulfilled']);
    expect(play.log).to.deep.equal(['ended: its thread ended with code 0', 'stopped', 'up']);
  });

  it('follows the last request: a stop after a restart starts nothing, and rejects the restart', async () => {
    const play = new Play().in('up');
    const restarted = followed(play.life.restart(GRACE_MS));
    const stopped = followed(play.life.stop(GRACE_MS));
    play.exit();
    await new Promise(setImmediate);
    expect([restarted.is, stopped.is, play.life.phase]).to.deep.equal([
      'ECPUDIED',
      'fulfilled',
      'down',
    ]);
  });

  it('tells a thread that its grace period is over, and terminates it if that does not help', () => {
    const play = new Play().in('up');
    void play.life.stop(GRACE_MS);
    play.clock.tick(GRACE_MS - 1);
    expect(play.thread.told).to.deep.equal(['stop']);
    play.clock.tick(1);
    expect([play.thread.told, play.life.phase]).to.deep.equal([['stop', 'over'], 'ending']);
    play.clock.tick(END_MS - 1);
    expect(play.thread.isTerminated).to.equal(false);
    play.clock.tick(1);
    expect(play.thread.isTerminated).to.equal(true);
    play.exit(1);
    expect(play.log).to.deep.equal(['ended: its thread ended with code 1, by CPU 0', 'stopped']);
  });

  it('shortens a grace period, and never extends it', () => {
    const play = new Play().in('up');
    void play.life.stop(GRACE_MS);
    void play.life.stop(GRACE_MS * 10);
    void play.life.restart(GRACE_MS / 4);
    play.clock.tick(GRACE_MS / 4 - 1);
    expect(play.thread.told).to.deep.equal(['stop']);
    play.clock.tick(1);
    expect(play.thread.told).to.deep.equal(['stop', 'over']);
  });

  it('terminates a thread that hangs while it imports the module, names the module, and tries again', async () => {
    const play = new Play().in('starting');
    const promise = play.life.start().catch((error: unknown) => error as KcontError);
    play.clock.tick(TIMEOUT_MS);
    expect(await promise).to.include({
      code: 'ETIMEDOUT',
      message: 'CPU 1 could not be started: it has not imported file:///work.js within 1000 ms',
    });
    expect([play.thread.isTerminated, play.life.phase]).to.deep.equal([true, 'ending']);
    play.exit(1);
    expect(play.life.phase).to.equal('backoff');
    play.clock.tick(20);
    expect(play.life.phase).to.equal('starting');
    play.clock.tick(TIMEOUT_MS);
    void play.life.stop(0);
    play.exit(1);
    expect(play.life.phase).to.equal('down');
  });

  it('waits longer after each death, and begins anew when it has been steady', () => {
    const play = new Play().in('up');
    const waits: number[] = [];
    const waitFor = (): void => {
      const since = play.clock.now;
      while (play.life.phase === 'backoff') play.clock.tick(1);
      waits.push(play.clock.now - since);
    };
    play.exit(1);
    waitFor();
    play.exit(1);
    waitFor();
    play.thread.calls.up();
    play.clock.tick(10_001);
    play.exit(1);
    waitFor();
    expect(waits).to.deep.equal([20, 30, 10]);
  });

  it('treats a thread that cannot be made as one that has died', async () => {
    const play = new Play();
    play.isBroken = true;
    const promise = followed(play.life.start());
    await new Promise(setImmediate);
    expect([promise.is, play.life.phase]).to.deep.equal(['ECPUDIED', 'backoff']);
    play.clock.tick(20);
    const stopped = followed(play.life.stop(0));
    play.isBroken = false;
    const started = followed(play.life.start());
    await new Promise(setImmediate);
    play.thread.calls.up();
    await new Promise(setImmediate);
    expect([stopped.is, started.is, play.life.phase]).to.deep.equal([
      'fulfilled',
      'fulfilled',
      'up',
    ]);
  });

  it('makes a thread of the reserve when it is needed, and only then', async () => {
    const play = new Play(true);
    const first = followed(play.life.start());
    play.exit(9);
    await new Promise(setImmediate);
    expect([first.is, play.life.phase]).to.deep.equal(['ECPUDIED', 'down']);
    play.clock.tick(1e6);
    expect(play.threads).to.deep.equal([]);
  });

  it('ignores a thread that has been replaced', () => {
    const play = new Play().in('up');
    const { calls } = play.thread;
    play.exit(1);
    play.clock.tick(20);
    calls.up();
    calls.reported();
    calls.ended({ code: 1, error: undefined });
    expect(play.life.phase).to.equal('starting');
  });

  it('makes at most one thread, and settles every promise, for any requests in any order', async () => {
    const event = fc.constantFrom<Request | 'up' | 'reported' | 'exit' | 'tick' | 'break'>(
      'start',
      'restart',
      'stop',
      'kill',
      'up',
      'reported',
      'exit',
      'tick',
      'break',
    );
    const program = fc.array(event, { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(program, fc.boolean(), async (events, isReserve) => {
        const play = new Play(isReserve);
        const promises: { is: string }[] = [];
        for (const what of events) {
          if (what === 'exit') play.exit(1);
          else if (what === 'tick') play.clock.tick(60);
          else if (what === 'break') play.isBroken = !play.isBroken;
          else if (what === 'up') play.threads.at(-1)?.calls.up();
          else if (what === 'reported') play.threads.at(-1)?.calls.reported();
          else promises.push(followed(ask(play, what)));
          // A thread that could not be made is reported in a microtask.
          if (play.isBroken) await Promise.resolve();
          expect(play.threads.length).to.be.at.most(1);
        }
        promises.push(followed(ask(play, 'close')));
        play.clock.tick(2 * END_MS);
        for (const thread of play.threads) expect(thread.isTerminated).to.equal(true);
        play.exit();
        await new Promise(setImmediate);
        expect(promises.filter(({ is }) => is === 'waits')).to.deep.equal([]);
        play.clock.tick(1e6);
        expect([play.threads.length, play.life.phase]).to.deep.equal([0, 'down']);
      }),
      { seed: 1, numRuns: 300 * soak },
    );
  });
});

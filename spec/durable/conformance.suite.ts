// The conformance suite of the port: what every backend of durable continuations does, whatever it is
// built on. Nothing here waits for a certain time: `until` lets time pass until something has happened,
// and what must not happen is checked when something scheduled later has happened.

import { isNativeError as isError } from 'node:util/types';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { KcontError, Mutex } from '../../lib/index.ts';
import { deferred } from '../support/lab.ts';
import type { Durable, DurableOptions, Invocation } from '../../lib/durable/index.ts';

/** A cluster whose nodes are in this process. */
export interface Cluster {
  /** Starts a node. */
  node(name: string, options?: Partial<DurableOptions>): Promise<Durable>;
  /** Lets time pass until a condition holds. */
  until(condition: () => boolean | Promise<boolean>): Promise<void>;
  /** Lets time pass until a promise settles. */
  settled<T>(promise: Promise<T>): Promise<T>;
  /** Ends all nodes, and removes what is stored. */
  end(): Promise<void>;
}

/** The error as text, or the type of what was thrown instead. */
function textOf(error: unknown): string {
  return typeof error === 'object' && isError(error) ? String(error) : typeof error;
}

/** Runs the suite against a backend. */
export function conform(backend: string, start: () => Promise<Cluster>): void {
  describe(`the backend ${backend}`, function () {
    this.timeout(30_000);
    let cluster: Cluster;
    let jobs: Durable;
    let ran: string[];
    const errors: string[] = [];

    beforeEach(async () => {
      cluster = await start();
      ran = [];
      errors.length = 0;
      jobs = await cluster.node('a', {
        onError: (error, invocation) => {
          errors.push(`${invocation?.id}: ${textOf(error)}`);
        },
      });
      jobs.define('note', (text: string) => void ran.push(text));
    });

    afterEach(() => cluster.end());

    const note = (text: string, options?: Parameters<Durable['kcont']>[3]) =>
      jobs.kcont(text, 'note', text, options);
    const hasRun = (...texts: string[]) =>
      cluster.until(() => texts.every((text) => ran.includes(text)));

    describe('schedule', () => {
      it('runs functions whose names are those of properties of every object', async () => {
        const names = ['constructor', '__proto__', 'toString'];
        for (const name of names) jobs.define(name, () => void ran.push(name));
        for (const name of names) await jobs.kcont(name, name, null).schedule();
        await hasRun(...names);
      });

      it('takes the longest delay, and touches it', async () => {
        const kc = note('x');
        expect(await kc.schedule(Number.MAX_SAFE_INTEGER)).to.equal(true);
        expect(await kc.touch()).to.equal(true);
        expect(await kc.stop()).to.equal(false);
      });

      it('is touched by the delay of the first run, if it is periodic', async () => {
        const kc = note('x');
        await kc.every(1000, { firstMs: 1e6 });
        expect(await kc.touch()).to.equal(true);
        expect((await kc.state()).dueInMs).to.be.above(1e5);
        await kc.stop();
      });

      it('runs a function once, with its argument and its invocation', async () => {
        const seen: unknown[] = [];
        jobs.define('look', (arg: unknown, call: Invocation) => {
          seen.push([
            arg,
            call.id,
            call.handler,
            call.attempt,
            call.crashes,
            call.node,
            call.signal.aborted,
          ]);
        });
        const arg = { text: 'ä\u0000"\\', list: [1, 2.5, null, true], none: {} };
        expect(await jobs.kcont('x', 'look', arg).schedule()).to.equal(true);
        await cluster.until(() => seen.length > 0);
        expect(seen).to.deep.equal([[arg, 'x', 'look', 1, 0, 'a', false]]);
        await note('later').schedule();
        await hasRun('later');
        expect(seen).to.have.length(1);
      });

      it('passes undefined, null and arrays as they are', async () => {
        const seen: unknown[] = [];
        jobs.define('look', (arg: unknown) => void seen.push(arg));
        for (const [index, arg] of [undefined, null, [], [1, [2]], '', 0].entries()) {
          const kc = jobs.kcont(`look:${index}`, 'look', arg, { lock: 'one' });
          await kc.schedule(1e6);
          // A second call replaces the argument: arrays are not merged.
          await kc.schedule();
        }
        await cluster.until(() => seen.length === 6);
        expect(seen).to.deep.equal([undefined, null, [], [1, [2]], '', 0]);
      });

      it('moves the deadline of what is pending, and replaces its argument', async () => {
        const far = jobs.kcont('x', 'note', 'far');
        expect(await far.schedule(1e9)).to.equal(true);
        expect(await jobs.kcont('x', 'note', 'near').schedule(20)).to.equal(true);
        await hasRun('near');
        expect((await far.state()).pending).to.equal(false);
        expect(ran).to.deep.equal(['near']);
      });

      it('returns false while a run is in flight, and changes nothing', async () => {
        const gate = deferred();
        jobs.define('wait', async (arg: string) => {
          ran.push(arg);
          await gate.promise;
        });
        const kc = jobs.kcont('x', 'wait', 'first');
        await kc.schedule();
        await hasRun('first');
        expect(await jobs.kcont('x', 'wait', 'second').schedule()).to.equal(false);
        expect(await kc.schedule(1000)).to.equal(false);
        expect(await kc.state()).to.include({ pending: false, running: true, invoking: true });
        gate.resolve();
        await cluster.settled(kc.drain());
        expect(await jobs.kcont('x', 'wait', 'third').schedule()).to.equal(true);
        await hasRun('third');
        expect(ran).to.deep.equal(['first', 'third']);
      });

      it('rejects with ENOENT for a node that has never been up', async () => {
        const kc = note('x', { node: 'nowhere' });
        const error = await kc.schedule().catch((thrown: unknown) => thrown);
        expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'ENOENT' });
        expect(await kc.state()).to.include({ pending: false });
      });

      it('accepts the longest delay', async () => {
        const kc = note('x');
        expect(await kc.schedule(Number.MAX_SAFE_INTEGER)).to.equal(true);
        expect((await kc.state()).dueInMs).to.be.above(9e15);
        expect(await kc.stop()).to.equal(false);
      });

      it('is never early', async () => {
        const early: number[] = [];
        const gate = deferred();
        let left = 5;
        const first = performance.now();
        jobs.define('look', () => {
          early.push(performance.now() - first);
          if (--left === 0) gate.resolve();
        });
        const kc = (i: number) => jobs.kcont(`look:${i}`, 'look', null);
        for (let i = 0; i < 5; i++) await kc(i).schedule(30);
        await cluster.settled(gate.promise);
        // The memory backend runs on a virtual clock, whose time passes at once.
        if (jobs.caps.durable) expect(Math.min(...early)).to.be.at.least(29.9);
      });
    });

    describe('order', () => {
      it('is by priority, then first in, first out', async () => {
        const gate = deferred();
        const names = ['softserial', 'softnet', 'softbio', 'softclock'] as const;
        const slow = ['prihigh', 'primedhigh', 'primedlow', 'prilow'] as const;
        for (const wq of [...names, ...slow]) {
          jobs.define(wq, { wq }, (arg: string) => void ran.push(arg));
        }
        jobs.define('wait', { wq: 'prilow' }, () => gate.promise);
        const lock = 'one';
        await jobs.kcont('wait', 'wait', null, { lock }).schedule();
        await cluster.until(async () => (await jobs.kcont('wait', 'wait', null).state()).running);
        const expected: string[] = [];
        for (const wq of [...names, ...slow].toReversed()) {
          for (const n of [1, 2]) {
            await jobs.kcont(`${wq} ${n}`, wq, `${wq} ${n}`, { lock }).schedule();
          }
        }
        for (const wq of [...names, ...slow]) expected.push(`${wq} 1`, `${wq} 2`);
        gate.resolve();
        await hasRun('prilow 2');
        expect(ran).to.deep.equal(expected);
      });

      it('is by deadline for one workqueue and lock', async () => {
        const gate = deferred();
        const lock = 'one';
        jobs.define('wait', () => gate.promise);
        const wait = jobs.kcont('wait', 'wait', null, { lock });
        await wait.schedule();
        await cluster.until(async () => (await wait.state()).running);
        const due: { text: string; atMs: number }[] = [];
        for (const ms of [800, 200, 600, 0, 1000, 400]) {
          const kc = note(String(ms), { lock });
          await kc.schedule(ms);
          // The machine may be so slow that a later call has an earlier deadline.
          due.push({ text: kc.id, atMs: jobs.kernel.now() + (await kc.state()).dueInMs });
        }
        await cluster.until(async () => (await note('1000').state()).dueInMs <= 0);
        gate.resolve();
        await hasRun('1000');
        const sorted = due.toSorted((a, b) => a.atMs - b.atMs).map(({ text }) => text);
        expect(ran).to.deep.equal(sorted);
      });

      it('takes a moved deadline as a new place', async () => {
        const gate = deferred();
        jobs.define('wait', () => gate.promise);
        const lock = 'one';
        const wait = jobs.kcont('wait', 'wait', null, { lock });
        await wait.schedule();
        await cluster.until(async () => (await wait.state()).running);
        for (const text of ['1', '2', '3']) await note(text, { lock }).schedule();
        await note('1', { lock }).schedule();
        gate.resolve();
        await hasRun('1', '2', '3');
        expect(ran).to.deep.equal(['2', '3', '1']);
      });
    });

    describe('a lock', () => {
      it('has one holder in the cluster, and other locks do not wait for it', async () => {
        const other = await cluster.node('b');
        let holders = 0;
        let most = 0;
        const hold = async (arg: string) => {
          if (arg === 'locked') most = Math.max(most, ++holders);
          await Promise.resolve();
          await new Promise<void>((resolve) => setImmediate(resolve));
          if (arg === 'locked') holders--;
          ran.push(arg);
        };
        jobs.define('hold', hold);
        other.define('hold', hold);
        for (let i = 0; i < 12; i++) {
          const from = i % 2 === 0 ? jobs : other;
          await from.kcont(`l:${i}`, 'hold', 'locked', { lock: 'one' }).schedule();
          await from.kcont(`f:${i}`, 'hold', 'free').schedule();
        }
        await cluster.until(() => ran.length === 24);
        expect(most).to.equal(1);
      });

      it('is released when a function throws', async () => {
        jobs.define('fail', () => {
          throw new Error('no');
        });
        await jobs.kcont('x', 'fail', null, { lock: 'one' }).schedule();
        await note('after', { lock: 'one' }).schedule();
        await hasRun('after');
        expect(errors).to.deep.equal(['x: Error: no']);
      });
    });

    describe('stop', () => {
      it('withdraws what is pending: it does not run', async () => {
        const kc = note('x');
        await kc.schedule(400);
        expect(await kc.stop()).to.equal(false);
        expect(await kc.state()).to.include({ pending: false, running: false });
        await note('later').schedule(500);
        await hasRun('later');
        expect(ran).to.deep.equal(['later']);
        expect(await kc.cancel()).to.deep.equal({ withdrawn: false, running: false });
      });

      it('withdraws what is due and waits for its lock', async () => {
        const gate = deferred();
        jobs.define('wait', async (arg: string) => {
          ran.push(arg);
          await gate.promise;
        });
        await jobs.kcont('w', 'wait', 'w', { lock: 'one' }).schedule();
        await hasRun('w');
        await note('x', { lock: 'one' }).schedule();
        expect(await note('x').cancel()).to.deep.equal({ withdrawn: true, running: false });
        await note('y', { lock: 'one' }).schedule();
        gate.resolve();
        await hasRun('y');
        expect(ran).to.deep.equal(['w', 'y']);
      });

      it('says that a run is in flight, which is then neither retried nor repeated', async () => {
        const gate = deferred();
        jobs.define('fail', { maxAttempts: 5, backoff: { baseMs: 0 } }, async () => {
          ran.push('fail');
          await gate.promise;
          throw new Error('no');
        });
        const kc = jobs.kcont('x', 'fail', null);
        await kc.every(5, { firstMs: 0 });
        await hasRun('fail');
        expect(await kc.stop()).to.equal(true);
        expect(await kc.state()).to.include({ pending: false, running: true, invoking: false });
        gate.resolve();
        expect(await cluster.settled(kc.drain())).to.equal(true);
        await note('later').schedule(30);
        await hasRun('later');
        expect(ran).to.deep.equal(['fail', 'later']);
      });
    });

    describe('touch', () => {
      it('moves the deadline to now plus the last delay, whoever scheduled it', async () => {
        const kc = note('x');
        await kc.schedule(1e6);
        const before = (await kc.state()).dueInMs;
        await note('sooner').schedule(20);
        await hasRun('sooner');
        expect((await kc.state()).dueInMs).to.be.at.most(before - 20);
        expect(await jobs.kcont('x', 'note', 'other').touch()).to.equal(true);
        expect((await kc.state()).dueInMs).to.be.within(1e6 - 5000, 1e6);
        expect((await kc.state()).dueInMs).to.be.above(before - 20);
      });

      it('returns false if nothing is pending', async () => {
        expect(await note('x').touch()).to.equal(false);
      });
    });

    describe('reset', () => {
      it('schedules while a run is in flight, and the runs do not overlap', async () => {
        const gates = { first: deferred(), second: deferred() };
        let running = 0;
        jobs.define('wait', async (arg: 'first' | 'second') => {
          expect(++running).to.equal(1);
          ran.push(arg);
          await gates[arg].promise;
          running--;
        });
        const kc = jobs.kcont('x', 'wait', 'first');
        await kc.schedule();
        await hasRun('first');
        expect(await jobs.kcont('x', 'wait', 'second').reset()).to.equal(true);
        expect(await kc.state()).to.include({ running: true });
        await note('later').schedule(10);
        await hasRun('later');
        expect(ran).to.deep.equal(['first', 'later']);
        gates.first.resolve();
        await hasRun('second');
        expect(await jobs.kcont('x', 'wait', 'third').schedule()).to.equal(false);
        gates.second.resolve();
        await cluster.settled(kc.drain());
        expect(errors).to.deep.equal([]);
      });

      it('sets a new deadline if something is pending', async () => {
        await note('x').schedule(1e9);
        await note('x').reset(5);
        await hasRun('x');
      });
    });

    describe('ack', () => {
      it('frees the name of a run, by its invocation or by the handle, once', async () => {
        const gate = deferred();
        const answers: boolean[] = [];
        jobs.define('wait', async (arg: string, call: Invocation) => {
          if (arg === 'first') {
            answers.push(await call.ack(), await call.ack());
            await gate.promise;
          }
          ran.push(arg);
        });
        const kc = jobs.kcont('x', 'wait', 'first');
        expect(await kc.ack()).to.equal(false);
        await kc.schedule();
        await cluster.until(() => answers.length === 2);
        expect(answers).to.deep.equal([true, false]);
        expect(await kc.ack()).to.equal(false);
        expect(await jobs.kcont('x', 'wait', 'second').schedule()).to.equal(true);
        await note('later').schedule(10);
        await hasRun('later');
        gate.resolve();
        await hasRun('second');
        expect(ran).to.deep.equal(['later', 'first', 'second']);
      });
    });

    describe('drain and halt', () => {
      it('wait for the run in flight, and say so', async () => {
        const gate = deferred();
        jobs.define('wait', async () => {
          ran.push('wait');
          await gate.promise;
        });
        const kc = jobs.kcont('x', 'wait', null);
        expect(await kc.drain()).to.equal(false);
        await kc.schedule(1e6);
        expect(await kc.drain()).to.equal(false);
        expect(await kc.halt()).to.equal(false);
        await kc.schedule();
        await hasRun('wait');
        const drained = kc.drain();
        const halted = kc.halt();
        await cluster.until(async () => !(await kc.state()).invoking);
        // Whatever the drain asks of the backend has been answered long before a run that begins now.
        await note('later').schedule();
        await hasRun('later');
        gate.resolve();
        expect(await cluster.settled(Promise.all([drained, halted]))).to.deep.equal([true, true]);
        expect(await kc.state()).to.include({ running: false });
      });

      it('are rejected with the reason of their signal', async () => {
        const gate = deferred();
        jobs.define('wait', async () => {
          ran.push('wait');
          await gate.promise;
        });
        const kc = jobs.kcont('x', 'wait', null);
        await kc.schedule();
        await hasRun('wait');
        const controller = new AbortController();
        const drained = kc.drain({ signal: controller.signal });
        controller.abort(new Error('enough'));
        const error = await drained.catch((thrown: unknown) => thrown);
        expect(String(error)).to.equal('Error: enough');
        gate.resolve();
        await cluster.settled(kc.drain());
      });
    });

    describe('retries', () => {
      it('come after the backoff, with the same argument, and are counted', async () => {
        const seen: string[] = [];
        jobs.define(
          'fail',
          { maxAttempts: 3, backoff: { baseMs: 5, jitter: 'none' } },
          (arg: string, call: Invocation) => {
            seen.push(`${arg} ${call.attempt}`);
            if (call.attempt < 3) throw new Error(`no ${call.attempt}`);
          },
        );
        const kc = jobs.kcont('x', 'fail', 'arg');
        await kc.schedule();
        await cluster.until(() => seen.length === 3);
        await cluster.settled(kc.drain());
        expect(seen).to.deep.equal(['arg 1', 'arg 2', 'arg 3']);
        expect(errors).to.deep.equal([]);
        expect(await kc.state()).to.include({ pending: false, failed: 0, lastError: null });
      });

      it('fail, with that error, if their backoff cannot draw a wait', async () => {
        const backoff = { random: () => 2 };
        jobs.define('fail', { maxAttempts: 3, backoff }, () => {
          throw new Error('no');
        });
        const kc = jobs.kcont('x', 'fail', null);
        await kc.schedule();
        await cluster.until(() => errors.length > 0);
        await cluster.settled(kc.drain());
        expect(await kc.state()).to.deep.include({ pending: false, failed: 1 });
        expect(String((await kc.state()).lastError)).to.include('result of random must be');
      });

      it('keep the attempts and the last error between attempts and at the end', async () => {
        jobs.define('fail', { maxAttempts: 2, backoff: { baseMs: 30, jitter: 'none' } }, () => {
          throw new Error('no \0 \uD800');
        });
        const kc = jobs.kcont('x', 'fail', null);
        await kc.schedule();
        await cluster.until(async () => (await kc.state()).failed === 1);
        const between = await kc.state();
        expect(between.lastError).to.equal('Error: no \\0 \uFFFD');
        await cluster.until(() => errors.length > 0);
        await cluster.settled(kc.drain());
        expect(await kc.state()).to.include({
          pending: false,
          failed: 2,
          lastError: 'Error: no \\0 \uFFFD',
        });
        await kc.schedule(1e6);
        expect(await kc.state()).to.include({ pending: true, failed: 0, lastError: null });
      });

      it('survive what functions throw', async () => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        const thrown: unknown[] = [undefined, null, proxy, 'text', Object.create(null), 12n];
        jobs.define('fail', (index: number) => {
          throw thrown[index];
        });
        for (const index of thrown.keys()) {
          await jobs.kcont(`x:${index}`, 'fail', index, { lock: 'one' }).schedule();
        }
        await note('after', { lock: 'one' }).schedule();
        await hasRun('after');
        expect(errors.map((text) => text.split(': ')[1])).to.deep.equal(
          thrown.map((value) => typeof value),
        );
      });
    });

    describe('every', () => {
      it('schedules the next run when one ends, until it is stopped', async () => {
        let count = 0;
        jobs.define('tick', async (arg: string, call: Invocation) => {
          ran.push(`${arg} ${++count}`);
          if (count === 3) await jobs.kcont(call.id, 'tick', arg).stop();
        });
        const kc = jobs.kcont('x', 'tick', 'tick');
        expect(await kc.every(10)).to.equal(true);
        await hasRun('tick 3');
        await cluster.settled(kc.drain());
        expect(await kc.state()).to.include({ pending: false });
        expect(ran).to.deep.equal(['tick 1', 'tick 2', 'tick 3']);
      });

      it('goes on after a run that has failed for good', async () => {
        let count = 0;
        jobs.define('tick', () => {
          if (++count === 1) throw new Error('once');
        });
        const kc = jobs.kcont('x', 'tick', null);
        await kc.every(5);
        await cluster.until(() => count >= 2);
        await kc.halt();
        expect(errors).to.deep.equal(['x: Error: once']);
      });

      it('does not drift, whatever delays a run: backoffs, and a touch between them', async () => {
        let count = 0;
        const backoff = { baseMs: 300, jitter: 'none' } as const;
        jobs.define('tick', { maxAttempts: 3, backoff }, () => {
          if (++count < 3) throw new Error('not yet');
        });
        const kc = jobs.kcont('x', 'tick', 'ä\u0000');
        await kc.every(100_000, { firstMs: 0 });
        await cluster.until(async () => (await kc.state()).failed === 1);
        expect(await kc.touch()).to.equal(true);
        await cluster.until(async () => count === 3 && (await kc.state()).pending);
        const { dueInMs, failed } = await kc.state();
        expect(failed).to.equal(0);
        // The attempts were 300 and 600 ms apart, after which 99.1 s are left until the next time.
        expect(dueInMs).to.be.within(90_000, 99_100);
        await kc.stop();
      });

      it('makes up for the times that passed during a backoff, with catchUp', async () => {
        let count = 0;
        const backoff = { baseMs: 1000, jitter: 'none' } as const;
        jobs.define('tick', { maxAttempts: 2, backoff }, () => {
          if (++count === 1) throw new Error('not yet');
        });
        const kc = jobs.kcont('x', 'tick', null);
        await kc.every(200, { firstMs: 0, catchUp: true });
        // At 0, where it fails and is tried again at 1000; and for 200, 400, 600 and 800, right after that.
        await cluster.until(() => count >= 2);
        const second = jobs.kernel.now();
        await cluster.until(() => count >= 6);
        expect(jobs.kernel.now() - second).to.be.below(500);
        await kc.stop();
      });
    });

    describe('several nodes', () => {
      it('run a function only where it is defined', async () => {
        const other = await cluster.node('b');
        other.define('there', (_: null, call: Invocation) => void ran.push(call.node));
        jobs.define('here', (_: null, call: Invocation) => void ran.push(call.node));
        await other.kcont('x', 'there', null).schedule();
        await jobs.kcont('y', 'here', null).schedule();
        await cluster.until(() => ran.length === 2);
        expect(ran.toSorted()).to.deep.equal(['a', 'b']);
      });

      it('respect a strong affinity, and stop what other nodes have scheduled', async () => {
        const other = await cluster.node('b');
        const look = (_: null, call: Invocation): void => void ran.push(`${call.id} ${call.node}`);
        jobs.define('look', look);
        other.define('look', look);
        for (let i = 0; i < 4; i++) {
          await jobs.kcont(`b${i}`, 'look', null, { node: 'b' }).schedule();
          await other.kcont(`a${i}`, 'look', null, { node: 'a' }).schedule();
        }
        await cluster.until(() => ran.length === 8);
        expect(ran.toSorted()).to.deep.equal(
          ['a', 'b'].flatMap((node) => [0, 1, 2, 3].map((i) => `${node}${i} ${node}`)),
        );
        await jobs.kcont('x', 'look', null).schedule(1e6);
        expect(await other.kcont('x', 'look', null).cancel()).to.deep.equal({
          withdrawn: true,
          running: false,
        });
      });

      it('wait for a node of strong affinity that is down, and replace one of weak affinity', async () => {
        const other = await cluster.node('b');
        const look = (_: null, call: Invocation): void => void ran.push(`${call.id} ${call.node}`);
        jobs.define('look', look);
        other.define('look', look);
        // Node a may not know yet that b is up.
        await cluster.until(async () => {
          await jobs.kcont('first', 'look', null, { node: 'b', affinity: 'weak' }).schedule();
          return ran.includes('first b');
        });
        await jobs.kcont('strong', 'look', null, { node: 'b' }).schedule();
        await hasRun('strong b');
        await jobs.kcont('strong', 'look', null, { node: 'b' }).schedule(1e6);
        await cluster.settled(other.close());
        await jobs.kcont('weak', 'look', null, { node: 'b', affinity: 'weak' }).schedule();
        await hasRun('weak a');
        await jobs.kcont('strong', 'look', null, { node: 'b' }).schedule();
        await jobs.kcont('later', 'look', null).schedule(10);
        await hasRun('later a');
        expect(ran).to.not.include('strong a');
        const again = await cluster.node('b');
        again.define('look', look);
        await cluster.until(() => ran.filter((text) => text === 'strong b').length === 2);
      });

      it('refuse a second node of the same name', async () => {
        const error = await cluster.node('a').catch((thrown: unknown) => thrown);
        expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'EBUSY' });
      });
    });

    describe('close', () => {
      it('finishes what is in flight, takes nothing more, and refuses later calls', async () => {
        const gate = deferred();
        jobs.define('wait', async () => {
          ran.push('wait');
          await gate.promise;
          // A function may still schedule.
          await note('next').schedule(1e6);
          ran.push('end');
        });
        const kc = jobs.kcont('x', 'wait', null);
        await kc.schedule();
        await hasRun('wait');
        const closed = jobs.close();
        await kc.stop();
        await note('too late').schedule();
        gate.resolve();
        const { unfinished, withdrawn } = await cluster.settled(closed);
        expect(unfinished).to.deep.equal([]);
        expect(withdrawn).to.deep.equal(jobs.caps.durable ? [] : ['too late', 'next']);
        expect(ran).to.deep.equal(['wait', 'end']);
        for (const call of [() => kc.schedule(), () => kc.state(), () => jobs.parked()]) {
          const error = await call().catch((thrown: unknown) => thrown);
          expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'ESHUTDOWN' });
        }
      });

      it('aborts and reports what does not finish, and another node begins it again', async () => {
        const other = await cluster.node('b');
        const never = deferred();
        const aborted: unknown[] = [];
        jobs.define('wait', async (_: null, call: Invocation) => {
          call.signal.addEventListener('abort', () =>
            aborted.push((call.signal.reason as KcontError).code),
          );
          ran.push(call.node);
          await never.promise;
        });
        await jobs.kcont('x', 'wait', null).schedule();
        await hasRun('a');
        other.define('wait', (_: null, call: Invocation) => void ran.push(call.node));
        const { unfinished } = await cluster.settled(jobs.close({ graceMs: 20 }));
        expect(unfinished).to.deep.equal([{ name: 'x', wq: 'primedlow', state: 'running' }]);
        expect(aborted).to.deep.equal(['ESHUTDOWN']);
        await hasRun('b');
        never.resolve();
      });

      it('follows the kernel that closes, and counts in its drain and its report', async () => {
        const gate = deferred();
        jobs.define('wait', async () => {
          ran.push('wait');
          await gate.promise;
        });
        const kc = jobs.kcont('x', 'wait', null);
        await kc.schedule();
        await hasRun('wait');
        expect(jobs.kernel.inspect().running).to.equal(1);
        expect(jobs.running).to.equal(1);
        const { unfinished } = await cluster.settled(jobs.kernel.close({ graceMs: 10 }));
        expect(unfinished).to.deep.equal([{ name: 'x', wq: 'primedlow', state: 'running' }]);
        expect(jobs.closed).to.equal(true);
        await cluster.settled(jobs.close());
        gate.resolve();
      });
    });

    it('holds the local lock of a definition while its function runs', async () => {
      const localLock = new Mutex();
      jobs.define('locked', { localLock }, () => void ran.push(`held ${localLock.held}`));
      await localLock.enter();
      await jobs.kcont('x', 'locked', null).schedule();
      await note('other').schedule();
      await hasRun('other');
      expect(ran).to.deep.equal(['other']);
      localLock.exit();
      await hasRun('held true');
      await cluster.until(() => !localLock.held);
    });

    it('runs at most as many as `concurrency` says', async () => {
      const other = await cluster.node('b', { concurrency: 2 });
      const gate = deferred();
      other.define('hold', async () => {
        ran.push('begun');
        await gate.promise;
        ran.push('ended');
      });
      for (let i = 0; i < 5; i++) await other.kcont(`c${i}`, 'hold', null).schedule();
      await cluster.until(() => ran.length === 2);
      await note('later').schedule();
      await hasRun('later');
      expect(ran).to.deep.equal(['begun', 'begun', 'later']);
      gate.resolve();
      await cluster.until(() => ran.length === 11);
    });

    it('lists nothing as parked as long as no process dies', async () => {
      await note('x').schedule();
      await hasRun('x');
      expect(await jobs.parked()).to.deep.equal([]);
      expect(await jobs.release('x')).to.equal(false);
    });
  });
}

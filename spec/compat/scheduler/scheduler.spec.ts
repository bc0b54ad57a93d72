// The cases are those of the web platform tests of Prioritized Task Scheduling, and some about the
// kernel. For signals and controllers see task-signal.spec.ts.

import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { expect } from 'chai';
import {
  Scheduler,
  TaskController,
  TaskSignal,
  createScheduler,
  scheduler as processScheduler,
  type SchedulerPostTaskOptions,
  type TaskPriority,
} from '../../../lib/compat/scheduler/index.ts';
import { Kcont, Kernel, VirtualClock } from '../../../lib/index.ts';
import { codeOf, deferred, rejectionOf } from '../../support/lab.ts';
import { burn } from '../../support/busy.ts';

const nothing = (): void => undefined;
const PRIORITIES: readonly TaskPriority[] = ['user-blocking', 'user-visible', 'background'];

/** Returns the name of the error a promise rejects with, or the reason itself; `none` if it fulfils. */
function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'none',
    (reason: unknown) => (reason instanceof Error ? reason.name : reason),
  );
}

describe('scheduler', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let scheduler: Scheduler;
  let ran: string[];
  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    scheduler = createScheduler(kernel);
    ran = [];
  });

  /** Runs everything that is due, and returns what ran. */
  const settle = async (): Promise<string> => {
    await clock.advance(0);
    return ran.splice(0).join();
  };
  const post = (name: string, options?: SchedulerPostTaskOptions): Promise<void> =>
    scheduler.postTask(() => void ran.push(name), options);
  const call = (...args: unknown[]): Promise<unknown> =>
    (scheduler.postTask as (...rest: unknown[]) => Promise<unknown>).apply(scheduler, args);

  describe('postTask', () => {
    it('resolves with the result of a synchronous or asynchronous callback', async () => {
      const results = [
        ...PRIORITIES.map((priority) => scheduler.postTask(() => priority, { priority })),
        scheduler.postTask(async () => 'later'),
        scheduler.postTask(nothing),
      ];
      await settle();
      expect(await Promise.all<unknown>(results)).to.deep.equal([
        ...PRIORITIES,
        'later',
        undefined,
      ]);
    });

    it('rejects with the error of a synchronous or asynchronous callback', async () => {
      const reasons = [
        rejection(
          scheduler.postTask(() => {
            throw new RangeError('on purpose');
          }),
        ),
        rejection(scheduler.postTask(() => Promise.reject(new SyntaxError('on purpose')))),
      ];
      await settle();
      expect(await Promise.all(reasons)).to.deep.equal(['RangeError', 'SyntaxError']);
    });

    it('calls back in a later turn, without arguments', async () => {
      const args: unknown[][] = [];
      void scheduler.postTask((...rest: unknown[]) => void args.push(rest));
      await Promise.resolve();
      expect(args).to.deep.equal([]);
      await settle();
      expect(args).to.deep.equal([[]]);
    });

    it('runs tasks in order of priority, then in order of the calls', async () => {
      for (const priority of PRIORITIES.toReversed()) {
        void post(`${priority} 1`, { priority });
        void post(`${priority} 2`, { priority });
      }
      void post('default');
      expect(await settle()).to.equal(
        'user-blocking 1,user-blocking 2,user-visible 1,user-visible 2,default,background 1,background 2',
      );
    });

    it('rejects invalid arguments', async () => {
      const wrong: unknown[][] = [
        [],
        ['f'],
        [{}],
        [nothing, 1],
        [nothing, { priority: 'urgent' }],
        [nothing, { priority: null }],
        [nothing, { priority: Symbol('p') }],
        [nothing, { signal: null }],
        [nothing, { signal: {} }],
        [nothing, { delay: -1 }],
        [nothing, { delay: NaN }],
        [nothing, { delay: Infinity }],
        [nothing, { delay: 2 ** 53 }],
        [nothing, { delay: 1n }],
        [nothing, { delay: 'soon' }],
      ];
      const names = await Promise.all(wrong.map((args) => rejection(call(...args))));
      expect(names).to.deep.equal(wrong.map(() => 'TypeError'));
      expect(await rejection(Reflect.apply(scheduler.postTask, {}, [nothing]))).to.equal(
        'TypeError',
      );
      expect(await rejection(Reflect.apply(scheduler.yield, undefined, []))).to.equal('TypeError');
    });

    it('accepts missing options, null, and convertible values', async () => {
      void call(() => void ran.push('null'), null);
      void call(() => void ran.push('converted'), {
        delay: '1.9',
        priority: new String('background'),
      });
      expect(await settle()).to.equal('null');
      await clock.advance(1);
      expect(ran).to.deep.equal(['converted']);
    });

    it('runs in the AsyncLocalStorage context of the caller', async () => {
      const store = new AsyncLocalStorage<string>();
      const seen = store.run('request', () => scheduler.postTask(() => store.getStore()));
      await settle();
      expect(await seen).to.equal('request');
    });

    it('runs all microtasks of a task before the next one', async () => {
      void scheduler.postTask(async () => {
        for (let i = 0; i < 20; i++) await Promise.resolve();
        ran.push('deep');
        process.nextTick(() => void ran.push('tick'));
      });
      void post('next');
      expect(await settle()).to.equal('deep,tick,next');
    });

    it('does so on the clock of the host, whose passes continue with settled work', async () => {
      const hosted = createScheduler(new Kernel());
      const deeply = async (name: string): Promise<void> => {
        for (let i = 0; i < 20; i++) await Promise.resolve();
        ran.push(name);
      };
      await Promise.all([
        hosted.postTask(async () => {
          await deeply('first');
          process.nextTick(() => void ran.push('tick'));
          await hosted.yield();
          await deeply('goes on');
          await hosted.yield();
          ran.push('ends');
        }),
        hosted.postTask(() => void ran.push('next')),
      ]);
      expect(ran).to.deep.equal(['first', 'tick', 'goes on', 'ends', 'next']);
    });

    it('continues a task after an await while other tasks run', async () => {
      const gate = deferred();
      void scheduler.postTask(async () => {
        ran.push('begun');
        await gate.promise;
        ran.push('ended');
      });
      void post('other');
      expect(await settle()).to.equal('begun,other');
      gate.resolve();
      expect(await settle()).to.equal('ended');
    });

    it('orders the tasks of all schedulers of a kernel', async () => {
      const other = createScheduler(kernel);
      void post('outer');
      void other.postTask(() => void ran.push('inner'));
      void other.postTask(() => void ran.push('urgent'), { priority: 'user-blocking' });
      expect(await settle()).to.equal('urgent,outer,inner');
    });

    it('runs on the process-wide kernel, with I/O between any two tasks', async () => {
      const order: string[] = [];
      const both = [1, 2].map((n) =>
        processScheduler.postTask(() => {
          order.push(`task ${n}`);
          setImmediate(() => void order.push(`immediate ${n}`));
        }),
      );
      await Promise.all(both);
      expect(order).to.deep.equal(['task 1', 'immediate 1', 'task 2']);
    });
  });

  describe('a delay', () => {
    it('is the minimum time before the task runs', async () => {
      void post('late', { delay: 10, priority: 'user-blocking' });
      void post('later', { delay: 11 });
      await clock.advance(9);
      expect(ran).to.deep.equal([]);
      await clock.advance(1);
      expect(ran).to.deep.equal(['late']);
      await clock.advance(1);
      expect(ran).to.deep.equal(['late', 'later']);
    });

    it('queues a task behind those that were posted before the delay was over', async () => {
      void post('delayed', { delay: 5 });
      const lazy = new Kcont(
        kernel.wq.softnet,
        null,
        () => {
          void post('first');
          void post('urgent', { priority: 'user-blocking' });
        },
        null,
      );
      lazy.schedule(5);
      await clock.advance(5);
      expect(ran).to.deep.equal(['urgent', 'first', 'delayed']);
    });

    it('queues the task with the priority that its signal has when the delay is over', async () => {
      const controller = new TaskController({ priority: 'background' });
      const { signal } = controller;
      void post('moved', { signal, delay: 20 });
      void post('mover', { delay: 10 });
      await clock.advance(10);
      controller.setPriority('user-blocking');
      void post('visible', { delay: 10, priority: 'user-visible' });
      await clock.advance(10);
      expect(ran).to.deep.equal(['mover', 'moved', 'visible']);
    });

    it('can be aborted', async () => {
      const controller = new AbortController();
      const task = rejection(post('never', { delay: 10, signal: controller.signal }));
      await clock.advance(5);
      controller.abort('changed my mind');
      expect(await task).to.equal('changed my mind');
      expect(kernel.inspect().pending).to.equal(0);
      await clock.advance(10);
      expect(ran).to.deep.equal([]);
    });
  });

  describe('a signal', () => {
    it('rejects the task with its reason if it is already aborted', async () => {
      const reason = new Error('on purpose');
      for (const controller of [new TaskController(), new AbortController()]) {
        controller.abort(reason);
        const { signal } = controller;
        expect(await post('never', { signal }).catch((error: unknown) => error)).to.equal(reason);
      }
      expect(await rejection(post('never', { signal: AbortSignal.abort() }))).to.equal(
        'AbortError',
      );
      expect(await settle()).to.equal('');
    });

    it('aborts all its tasks, whatever their priority', async () => {
      const controllers = Array.from({ length: 5 }, () => new TaskController());
      const tasks = controllers.map(({ signal }, i) => post(`${i}`, { signal }));
      const { signal } = controllers[2] as TaskController;
      tasks.push(post('2 background', { signal, priority: 'background' }));
      const results = Promise.allSettled(tasks);
      controllers[2]?.abort();
      expect(await settle()).to.equal('0,1,3,4');
      expect((await results).map(({ status }) => status === 'fulfilled')).to.deep.equal([
        true,
        true,
        false,
        true,
        true,
        false,
      ]);
    });

    it('rejects a task that aborts it, but not one that has returned', async () => {
      const [inTime, late] = [new TaskController(), new TaskController()];
      const tasks = [
        scheduler.postTask(() => inTime.abort(), { signal: inTime.signal }),
        scheduler.postTask(
          async () => {
            await Promise.resolve();
            late.abort();
          },
          { signal: late.signal },
        ),
      ].map(rejection);
      await settle();
      expect(await Promise.all(tasks)).to.deep.equal(['AbortError', 'none']);
    });

    it('does not abort a completed task, which keeps no listener', async () => {
      const controller = new TaskController();
      const task = post('done', { signal: controller.signal });
      await settle();
      await task;
      expect(getEventListeners(controller.signal, 'abort')).to.deep.equal([]);
      controller.abort();
    });

    it('sets the priority, unless the options set another', async () => {
      const { signal } = new TaskController({ priority: 'background' });
      void post('background', { signal });
      void post('visible');
      void post('blocking', { signal, priority: 'user-blocking' });
      void post('plain signal', { signal: new AbortController().signal });
      expect(await settle()).to.equal('blocking,visible,plain signal,background');
    });

    it('has a fixed priority or follows another if it was created by any()', async () => {
      const controller = new TaskController({ priority: 'user-blocking' });
      const fixed = TaskSignal.any([], { priority: 'background' });
      const ofFixed = TaskSignal.any([], { priority: fixed });
      const following = TaskSignal.any([], { priority: controller.signal });
      void post('following', { signal: following });
      void post('fixed', { signal: fixed });
      void post('of fixed', { signal: ofFixed });
      void post('visible');
      void post('background', { priority: 'background' });
      controller.setPriority('background');
      expect(await settle()).to.equal('visible,following,fixed,of fixed,background');
    });
  });

  describe('setPriority', () => {
    it('moves all tasks of the signal', async () => {
      const controller = new TaskController();
      const { signal } = controller;
      for (let i = 0; i < 5; i++) void post(`${i}`, { signal });
      void post('5', { priority: 'user-blocking' });
      void post('6', { priority: 'user-visible' });
      controller.setPriority('background');
      expect(await settle()).to.equal('5,6,0,1,2,3,4');
    });

    it('moves no other tasks', async () => {
      const controllers = Array.from(
        { length: 5 },
        () => new TaskController({ priority: 'background' }),
      );
      controllers.forEach(({ signal }, i) => void post(`${i}`, { signal }));
      controllers[2]?.setPriority('user-blocking');
      expect(await settle()).to.equal('2,0,1,3,4');
    });

    it('keeps tasks in the order in which they were posted, whatever their previous priority', async () => {
      const controller = new TaskController();
      const { signal } = controller;
      void post('0', { signal });
      void post('1', { priority: 'user-blocking' });
      void post('2', { signal });
      void post('3', { priority: 'user-blocking' });
      void post('4', { priority: 'user-visible' });
      controller.setPriority('background');
      controller.setPriority('user-visible');
      controller.setPriority('user-blocking');
      expect(await settle()).to.equal('0,1,2,3,4');
      void post('5', { signal });
      void post('6', { priority: 'user-blocking' });
      void post('7', { priority: 'background' });
      controller.setPriority('background');
      expect(await settle()).to.equal('6,5,7');
    });

    it('moves tasks also while one of them runs', async () => {
      const controller = new TaskController({ priority: 'user-blocking' });
      const { signal } = controller;
      void scheduler.postTask(() => controller.setPriority('background'), { signal });
      void post('1', { signal });
      void post('2', { priority: 'user-visible' });
      void post('3', { priority: 'background' });
      expect(await settle()).to.equal('2,1,3');
    });

    it('moves tasks and continuations to their own levels', async () => {
      const controller = new TaskController({ priority: 'background' });
      const { signal } = controller;
      void scheduler.postTask(
        async () => {
          ran.push('begun');
          void post('task', { signal });
          void post('visible', { priority: 'background' }).then(() => undefined);
          const ended = scheduler.yield();
          controller.setPriority('user-blocking');
          await ended;
          ran.push('continued');
        },
        { signal },
      );
      expect(await settle()).to.equal('begun,continued,task,visible');
    });

    it('ignores tasks that were aborted', async () => {
      const controller = new TaskController();
      const { signal } = controller;
      const first = rejection(post('0', { signal }));
      controller.abort();
      controller.setPriority('user-blocking');
      expect([await first, await settle()]).to.deep.equal(['AbortError', '']);
    });
  });

  describe('with several schedulers', () => {
    it('continues at the priority of the task of the same scheduler, even inside tasks of others', async () => {
      const other = createScheduler(kernel);
      const inner = async (): Promise<void> => {
        await scheduler.yield();
        ran.push('low');
        await other.yield();
        ran.push('high');
        await scheduler.postTask(
          async () => {
            await scheduler.yield();
            ran.push('innermost');
          },
          { priority: 'user-blocking' },
        );
      };
      const outer = (): Promise<void> => other.postTask(inner, { priority: 'user-blocking' });
      void scheduler.postTask(outer, { priority: 'background' });
      void post('blocking', { priority: 'user-blocking' });
      void post('visible', { priority: 'user-visible' });
      await clock.advance(0);
      expect(ran).to.deep.equal(['blocking', 'visible', 'low', 'high', 'innermost']);
    });

    it('uses one AsyncLocalStorage for all', async () => {
      const stores = (): number =>
        Object.getOwnPropertySymbols(new AsyncResource('kcont.spec')).length;
      const inside: number[] = [];
      const postWithin = (): void => {
        inside.push(stores());
        if (inside.length < 4) void createScheduler(kernel).postTask(postWithin);
      };
      void scheduler.postTask(postWithin);
      await clock.advance(0);
      expect(inside).to.have.length(4);
      expect(new Set(inside).size).to.equal(1);
    });
  });

  describe('yield', () => {
    /** Runs a task that yields three times, among two tasks of each priority. */
    const postAll = (options: SchedulerPostTaskOptions): Promise<string> => {
      void scheduler.postTask(async () => {
        ran.push('y0');
        for (let i = 1; i < 4; i++) {
          await scheduler.yield();
          ran.push(`y${i}`);
        }
      }, options);
      const names = { 'user-blocking': 'ub', 'user-visible': 'uv', background: 'bg' };
      for (const priority of PRIORITIES) {
        for (const n of [1, 2]) void post(`${names[priority]}${n}`, { priority });
      }
      return settle();
    };
    const EXPECTED = {
      'user-blocking': 'y0,y1,y2,y3,ub1,ub2,uv1,uv2,bg1,bg2',
      'user-visible': 'ub1,ub2,y0,y1,y2,y3,uv1,uv2,bg1,bg2',
      background: 'ub1,ub2,uv1,uv2,y0,y1,y2,y3,bg1,bg2',
    };

    it('continues before the tasks of its priority that have not begun', async () => {
      expect(await postAll({})).to.equal(EXPECTED['user-visible']);
      for (const priority of PRIORITIES) {
        expect(await postAll({ priority })).to.equal(EXPECTED[priority]);
      }
    });

    it('inherits the priority of a signal', async () => {
      for (const priority of PRIORITIES) {
        const { signal } = new TaskController({ priority });
        expect(await postAll({ signal })).to.equal(EXPECTED[priority]);
      }
    });

    it('follows changes of the priority of its signal', async () => {
      const controller = new TaskController();
      const { signal } = controller;
      void scheduler.postTask(
        async () => {
          ran.push('y0');
          void post('uv1');
          void post('uv2');
          for (const n of [1, 2]) {
            await scheduler.yield();
            ran.push(`y${n}`);
          }
          controller.setPriority('background');
          for (const n of [3, 4]) {
            await scheduler.yield();
            ran.push(`y${n}`);
          }
        },
        { signal },
      );
      expect(await settle()).to.equal('y0,y1,y2,uv1,uv2,y3,y4');
    });

    it('rejects when the signal of its task is aborted', async () => {
      const controller = new TaskController();
      const { signal } = controller;
      const inside: unknown[] = [];
      const task = scheduler.postTask(
        async () => {
          void scheduler.postTask(() => controller.abort('late'), { priority: 'user-blocking' });
          inside.push(await rejection(scheduler.yield()));
          inside.push(await rejection(scheduler.yield()));
        },
        { signal },
      );
      await settle();
      await task;
      expect(inside).to.deep.equal(['late', 'late']);
    });

    it('is user-visible and is not aborted outside of tasks', async () => {
      void post('task');
      void scheduler.yield().then(() => ran.push('continued'));
      void post('urgent', { priority: 'user-blocking' });
      expect(await settle()).to.equal('urgent,continued,task');
    });

    it('inherits across awaits, native promises and thenables', async () => {
      const ways: ((race: () => Promise<void>) => Promise<void>)[] = [
        (race) => race(),
        async (race) => {
          await new Promise<void>((resolve) => queueMicrotask(resolve));
          await race();
        },
        async (race) => {
          // oxlint-disable-next-line await-thenable, no-unnecessary-await -- that is the point
          await null;
          await race();
        },
        async (race) => {
          await Promise.resolve();
          await race();
        },
        (race) => Promise.resolve().then(nothing).then(race),
        async (race) => {
          // oxlint-disable-next-line unicorn/no-thenable -- that is the point
          await { then: (resolve: () => void) => resolve() };
          await race();
        },
      ];
      for (const way of ways) {
        void scheduler.postTask(
          () =>
            way(() => {
              void post('task', { priority: 'user-visible' });
              return scheduler.yield().then(() => void ran.push('continued'));
            }),
          { priority: 'background' },
        );
        expect(await settle()).to.equal('task,continued');
      }
    });

    it('inherits across timers and I/O that a task awaits', async () => {
      const real = createScheduler(new Kernel());
      const order: string[] = [];
      await real.postTask(
        async () => {
          await new Promise((resolve) => void setTimeout(resolve, 1));
          const task = real.postTask(() => void order.push('task'));
          await real.yield();
          order.push('continued');
          await task;
        },
        { priority: 'background' },
      );
      expect(order).to.deep.equal(['task', 'continued']);
    });

    it('does not inherit from another scheduler, nor in a continuation of the kernel', async () => {
      const other = createScheduler(kernel);
      const continued = (): Promise<unknown> =>
        scheduler.yield().then(() => void ran.push('continued'));
      const lazy = new Kcont(
        kernel.wq.prihigh,
        null,
        () => {
          void post('task');
          void continued();
        },
        null,
      );
      void other.postTask(
        () => {
          void post('task');
          return continued();
        },
        { priority: 'background' },
      );
      expect(await settle()).to.equal('continued,task');
      void scheduler.postTask(() => void lazy.schedule(), { priority: 'background' });
      expect(await settle()).to.equal('continued,task');
    });
  });

  describe('and the kernel', () => {
    it('runs tasks in order with its other continuations', async () => {
      const note = (name: string, wq: Kernel['wq'][keyof Kernel['wq']]): void => {
        new Kcont(wq, null, () => void ran.push(name), null).schedule();
      };
      void post('background', { priority: 'background' });
      note('primedlow', kernel.wq.primedlow);
      void post('user-visible');
      note('softnet', kernel.wq.softnet);
      expect(await settle()).to.equal('softnet,user-visible,primedlow,background');
    });

    it('waits for tasks in drain, and reports a task that does not end by name', async () => {
      void scheduler.postTask(function makeReport() {
        return new Promise(nothing);
      });
      await settle();
      let drained = false;
      void kernel.drain().then(() => (drained = true));
      await settle();
      expect(drained).to.equal(false);
      const closing = kernel.close({ graceMs: 10 });
      await clock.advance(1000);
      expect((await closing).unfinished.map(({ name }) => name)).to.deep.equal(['makeReport']);
    });

    it('finishes posted tasks when the kernel closes, and refuses later ones', async () => {
      const controller = new TaskController();
      const { signal } = controller;
      void scheduler.postTask(
        async () => {
          ran.push('first');
          await scheduler.yield();
          controller.setPriority('background');
          ran.push('went on');
        },
        { priority: 'user-blocking' },
      );
      void post('second', { signal });
      void post('third', { priority: 'background' });
      const delayed = post('delayed', { delay: 5 });
      const closing = kernel.close();
      expect(await rejectionOf(post('never'))).to.equal('ESHUTDOWN');
      expect(await rejectionOf(post('never', { delay: 1 }))).to.equal('ESHUTDOWN');
      await clock.advance(10_000);
      expect(ran).to.deep.equal(['first', 'went on', 'second', 'third']);
      expect((await closing).withdrawn).to.deep.equal(['postTask']);
      void delayed;
    });

    it('rejects a task whose delay ends after the kernel was closed', async () => {
      const shut = new Kcont(kernel.wq.softserial, null, () => void kernel.close(), null);
      const delayed = rejectionOf(post('never', { delay: 5 }));
      shut.schedule(5);
      await clock.advance(10_000);
      expect([await delayed, ran]).to.deep.equal(['ESHUTDOWN', []]);
    });

    it('runs a task that has waited for patienceMs', async () => {
      const real = new Kernel({ budgetMs: 1 });
      const patient = createScheduler(real, { patienceMs: 5 });
      let spinning = true;
      const spin: Kcont<null> = new Kcont<null>(
        real.wq.prihigh,
        null,
        () => void (spinning && spin.reset()),
        null,
      );
      spin.schedule();
      await patient.postTask(() => void (spinning = false), { priority: 'background' });
      expect(spinning).to.equal(false);
    });

    for (const [flood, begin] of Object.entries({
      'tasks that post the next one': (other: Scheduler, goesOn: () => boolean) => {
        const keep = (): void => {
          if (goesOn()) void other.postTask(keep, { priority: 'user-blocking' });
        };
        keep();
      },
      'a loop of tasks': async (other: Scheduler, goesOn: () => boolean) => {
        const next = (): Promise<void> => other.postTask(() => {}, { priority: 'user-visible' });
        while (goesOn()) await next();
      },
      'a task that yields': (other: Scheduler, goesOn: () => boolean) => {
        const work = async (): Promise<void> => {
          while (goesOn()) await other.yield();
        };
        void other.postTask(work, { priority: 'user-blocking' });
      },
    })) {
      for (const whose of ['its own', 'another scheduler’s']) {
        it(`runs a task that ${flood}, ${whose}, keeps waiting`, async () => {
          const real = new Kernel();
          const patient = createScheduler(real, { patienceMs: 5 });
          let flooding = true;
          void begin(whose === 'its own' ? patient : createScheduler(real), () => flooding);
          await patient.postTask(() => void (flooding = false), { priority: 'background' });
          expect(flooding).to.equal(false);
        });
      }
    }

    it('counts how long a task has waited, in whatever queue', async () => {
      const real = new Kernel();
      const patient = createScheduler(real, { patienceMs: 60 });
      let flooding = true;
      const keep = (): void => {
        burn(2);
        if (flooding) void patient.postTask(keep, { priority: 'user-blocking' });
      };
      keep();
      // All three exceed their patience at once: the second one does not wait that long again.
      let turns = 0;
      const atTurn: number[] = [];
      const count = (): void => void (turns++, flooding && setImmediate(count));
      const note = (): void => void atTurn.push(turns);
      setImmediate(count);
      await Promise.all([
        patient.postTask(note, { priority: 'user-visible' }),
        patient.postTask(note, { priority: 'background' }),
      ]);
      flooding = false;
      const [first = 0, second = 0] = atTurn;
      expect(first).to.be.above(5);
      expect(second - first).to.be.below(first / 2);
    });

    it('refuses other arguments', () => {
      expect(
        [
          () => createScheduler({} as Kernel),
          () => createScheduler(kernel, { patienceMs: -1 }),
          () => createScheduler(kernel, { patienceMs: NaN }),
        ].map(codeOf),
      ).to.deep.equal(['EINVAL', 'EINVAL', 'EINVAL']);
      expect(() => Reflect.construct(Scheduler, [])).to.throw(TypeError, 'Illegal');
      expect(Object.prototype.toString.call(scheduler)).to.equal('[object Scheduler]');
    });

    it('adds one listener to a signal for any number of tasks', async () => {
      const controller = new TaskController();
      const { signal } = controller;
      const tasks = Promise.allSettled(Array.from({ length: 50 }, () => post('never', { signal })));
      expect(getEventListeners(signal, 'abort')).to.have.length(1);
      controller.abort();
      expect((await tasks).every(({ status }) => status === 'rejected')).to.equal(true);
      expect(await settle()).to.equal('');
    });

    it('keeps no tasks, signals or busy workqueues when all tasks are done', async () => {
      const { signal } = new TaskController();
      const all = Array.from({ length: 100 }, (_, i) => post(`${i}`, { signal }));
      await settle();
      await Promise.all(all);
      const { pending, queued, running } = kernel.inspect();
      expect({ pending, queued, running }).to.deep.equal({ pending: 0, queued: 0, running: 0 });
    });
  });
});

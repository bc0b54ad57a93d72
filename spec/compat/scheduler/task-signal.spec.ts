import { expect } from 'chai';
import {
  TaskController,
  TaskPriorityChangeEvent,
  TaskSignal,
  type TaskPriority,
} from '../../../lib/compat/scheduler/index.ts';
import { settled } from '../../support/lab.ts';

const PRIORITIES: readonly TaskPriority[] = ['user-blocking', 'user-visible', 'background'];

/** Returns a value that the types forbid. */
// oxlint-disable-next-line no-unnecessary-type-parameters -- stands for what is asked for
const broken = <T>(value: unknown): T => value as T;

describe('a TaskController', () => {
  it('has a TaskSignal with its priority, user-visible by default', () => {
    expect(new TaskController().signal.priority).to.equal('user-visible');
    expect(new TaskController(broken(null)).signal.priority).to.equal('user-visible');
    for (const priority of PRIORITIES) {
      const { signal } = new TaskController({ priority });
      expect(signal.priority).to.equal(priority);
      expect(signal).to.be.instanceOf(TaskSignal);
      expect(signal).to.be.instanceOf(AbortSignal);
    }
  });

  it('refuses an invalid priority', () => {
    const controller = new TaskController();
    for (const priority of ['urgent', null, 1, Symbol('p')]) {
      expect(() => new TaskController({ priority: broken(priority) })).to.throw(TypeError);
      expect(() => controller.setPriority(broken(priority))).to.throw(TypeError);
    }
    expect(() => controller.setPriority(broken(undefined))).to.throw(TypeError);
    expect(() => new TaskController(broken(1))).to.throw(TypeError);
    expect(controller.signal.priority).to.equal('user-visible');
  });

  it('aborts its signal like any AbortController', () => {
    const controller = new TaskController();
    controller.abort('why');
    expect([controller.signal.aborted, controller.signal.reason]).to.deep.equal([true, 'why']);
    expect(controller).to.be.instanceOf(AbortController);
    expect(Object.prototype.toString.call(controller)).to.equal('[object TaskController]');
  });

  it('fires prioritychange when the priority changes, and only then', () => {
    const controller = new TaskController();
    const { signal } = controller;
    const events: unknown[] = [];
    signal.addEventListener('prioritychange', (event) => {
      const { previousPriority } = event as TaskPriorityChangeEvent;
      events.push([event.type, event.target === signal, previousPriority, signal.priority]);
    });
    controller.setPriority('user-visible');
    controller.setPriority('background');
    controller.setPriority('background');
    controller.setPriority('user-blocking');
    expect(events).to.deep.equal([
      ['prioritychange', true, 'user-visible', 'background'],
      ['prioritychange', true, 'background', 'user-blocking'],
    ]);
  });

  it('refuses to change the priority in a listener of the change', () => {
    const controller = new TaskController();
    const names: string[] = [];
    const again = (): void => {
      try {
        controller.setPriority('user-blocking');
      } catch (error) {
        names.push(`${(error as Error).name} ${error instanceof DOMException}`);
      }
    };
    controller.signal.addEventListener('prioritychange', again);
    TaskSignal.any([], { priority: controller.signal }).addEventListener('prioritychange', again);
    controller.setPriority('background');
    expect(names).to.deep.equal(['NotAllowedError true', 'NotAllowedError true']);
    expect(controller.signal.priority).to.equal('background');
    // After the event, it may be changed.
    controller.signal.removeEventListener('prioritychange', again);
    controller.setPriority('user-visible');
    expect(controller.signal.priority).to.equal('user-visible');
  });
});

describe('a TaskSignal', () => {
  it('cannot be constructed, and has no methods for other receivers', () => {
    expect(() => Reflect.construct(TaskSignal, [])).to.throw(TypeError, 'Illegal constructor');
    const fake = Object.create(TaskSignal.prototype) as TaskSignal;
    expect(() => fake.priority).to.throw(TypeError, 'Illegal invocation');
    expect(Object.prototype.toString.call(new TaskController().signal)).to.equal(
      '[object TaskSignal]',
    );
  });

  it('has an attribute onprioritychange, which keeps its position among the listeners', () => {
    const controller = new TaskController();
    const { signal } = controller;
    const order: string[] = [];
    const listen = (name: string): void => {
      signal.addEventListener('prioritychange', () => void order.push(name));
    };
    expect(signal.onprioritychange).to.equal(null);
    listen('before');
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the attribute is meant
    signal.onprioritychange = () => void order.push('never');
    listen('after');
    const handler = function (this: TaskSignal, event: TaskPriorityChangeEvent): void {
      order.push(`${this === signal} ${event.previousPriority}`);
    };
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the attribute is meant
    signal.onprioritychange = handler;
    expect(signal.onprioritychange).to.equal(handler);
    controller.setPriority('background');
    expect(order.splice(0)).to.deep.equal(['before', 'true user-visible', 'after']);
    signal.onprioritychange = null;
    signal.onprioritychange = null;
    controller.setPriority('user-visible');
    expect(order.splice(0)).to.deep.equal(['before', 'after']);
    signal.onprioritychange = broken(1);
    expect(signal.onprioritychange).to.equal(null);
    const object = broken<null>({});
    signal.onprioritychange = object;
    controller.setPriority('background');
    expect([signal.onprioritychange, order]).to.deep.equal([object, ['before', 'after']]);
  });
});

describe('TaskSignal.any', () => {
  it('has the given priority, user-visible by default', () => {
    const made = [
      TaskSignal.any([]),
      TaskSignal.any([], broken(null)),
      ...PRIORITIES.map((priority) => TaskSignal.any([], { priority })),
      ...PRIORITIES.map((priority) =>
        TaskSignal.any([], { priority: new TaskController({ priority }).signal }),
      ),
    ];
    expect(made.every((signal) => signal instanceof TaskSignal)).to.equal(true);
    expect(made.map(({ priority }) => priority)).to.deep.equal([
      'user-visible',
      'user-visible',
      ...PRIORITIES,
      ...PRIORITIES,
    ]);
  });

  it('is aborted with the first of its signals, with the same reason', () => {
    for (const Controller of [AbortController, TaskController]) {
      const controllers = Array.from({ length: 3 }, () => new Controller());
      const signal = TaskSignal.any(new Set(controllers.map((controller) => controller.signal)));
      const told: unknown[] = [];
      signal.addEventListener('abort', () => void told.push(signal.reason));
      controllers[1]?.abort('second');
      controllers[0]?.abort('first');
      expect([signal.aborted, told]).to.deep.equal([true, ['second']]);
      expect(TaskSignal.any([signal]).reason).to.equal('second');
    }
  });

  it('refuses invalid signals and priorities', () => {
    for (const signals of [undefined, null, 5, 'ab', {}, { length: 0 }]) {
      expect(() => TaskSignal.any(broken(signals))).to.throw(TypeError, 'signals must be iterable');
    }
    expect(() => TaskSignal.any([broken({})])).to.throw(TypeError);
    expect(() => TaskSignal.any([], { priority: broken('urgent') })).to.throw(TypeError);
    expect(() => TaskSignal.any([], { priority: broken(new AbortController().signal) })).to.throw(
      TypeError,
    );
    expect(() => TaskSignal.any([], broken(1))).to.throw(TypeError);
  });

  it('follows the priority of a signal, and fires prioritychange', () => {
    const controller = new TaskController();
    const signal = TaskSignal.any([], { priority: controller.signal });
    const seen: unknown[] = [];
    signal.addEventListener('prioritychange', ({ target }) => {
      seen.push([target === signal, signal.priority]);
    });
    for (const priority of PRIORITIES) controller.setPriority(priority);
    expect(seen).to.deep.equal(PRIORITIES.map((priority) => [true, priority]));
  });

  it('follows a signal across any number of dependents', () => {
    const controller = new TaskController();
    let { signal } = controller;
    for (let i = 0; i < 4; i++) signal = TaskSignal.any([], { priority: signal });
    let fired = 0;
    signal.addEventListener('prioritychange', () => void fired++);
    for (const priority of PRIORITIES) {
      controller.setPriority(priority);
      expect(signal.priority).to.equal(priority);
    }
    expect(fired).to.equal(3);
  });

  it('fires in the order in which the signals were created', () => {
    const controller = new TaskController();
    const results: number[] = [];
    const add = (id: number, priority: TaskSignal): TaskSignal => {
      const signal = TaskSignal.any([], { priority });
      signal.addEventListener('prioritychange', () => void results.push(id));
      return signal;
    };
    const signals = [0, 1, 2].map((id) => add(id, controller.signal));
    signals.forEach((signal, i) => void add(i + 3, signal));
    controller.setPriority('background');
    controller.setPriority('user-blocking');
    expect(results).to.deep.equal([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]);
  });

  it('keeps abort and priority independent', () => {
    const task = new TaskController();
    const abort = new AbortController();
    const signal = TaskSignal.any([abort.signal], { priority: task.signal });
    task.abort();
    expect(signal.aborted).to.equal(false);
    abort.abort();
    expect(signal.aborted).to.equal(true);
    let fired = 0;
    signal.addEventListener('prioritychange', () => void fired++);
    task.setPriority('background');
    expect([signal.priority, fired]).to.deep.equal(['background', 1]);
  });

  it('has a fixed priority if it follows one that has', () => {
    const fixed = TaskSignal.any([], { priority: 'background' });
    expect(TaskSignal.any([fixed], { priority: fixed }).priority).to.equal('background');
  });

  it('fires no change for a signal that is created during the change', () => {
    const controller = new TaskController();
    const made: TaskPriority[] = [];
    const follower = TaskSignal.any([], { priority: controller.signal });
    for (const signal of [controller.signal, follower]) {
      signal.addEventListener('prioritychange', () => {
        const late = TaskSignal.any([], { priority: signal });
        made.push(late.priority);
        late.addEventListener('prioritychange', () => expect.fail('fired'));
      });
    }
    controller.setPriority('background');
    expect(made).to.deep.equal(['background', 'background']);
  });

  it('is garbage-collected once a change would not be noticed, and not before', async () => {
    const controller = new TaskController();
    let heard = 0;
    const references: Record<string, WeakRef<TaskSignal>> = {};
    const make = (name: string): TaskSignal => {
      const signal = TaskSignal.any([], { priority: controller.signal });
      references[name] = new WeakRef(signal);
      return signal;
    };
    (() => {
      make('unused');
      make('heard').addEventListener('prioritychange', () => void heard++);
      make('once').addEventListener('prioritychange', () => void heard++, { once: true });
      const left = make('left');
      const listener = (): void => void heard++;
      left.addEventListener('prioritychange', listener);
      left.removeEventListener('prioritychange', listener);
    })();
    const alive = async (): Promise<string[]> => {
      for (let i = 0; i < 3; i++) {
        await settled();
        gc?.();
      }
      await settled();
      return Object.keys(references).filter((name) => references[name]?.deref() !== undefined);
    };
    expect(await alive()).to.deep.equal(['heard', 'once']);
    controller.setPriority('background');
    expect(heard).to.equal(2);
    expect(await alive()).to.deep.equal(['heard']);
    controller.setPriority('user-visible');
    expect(heard).to.equal(3);
  });

  it('keeps its priority when the signal it follows is garbage-collected', async () => {
    const source = (): TaskSignal => {
      const { signal } = new TaskController({ priority: 'background' });
      return TaskSignal.any([], { priority: signal });
    };
    const signal = source();
    for (let i = 0; i < 3; i++) {
      await settled();
      gc?.();
    }
    const next = TaskSignal.any([], { priority: signal });
    next.addEventListener('prioritychange', () => undefined);
    expect([signal.priority, next.priority]).to.deep.equal(['background', 'background']);
  });
});

describe('a TaskPriorityChangeEvent', () => {
  it('has a previous priority, which is required', () => {
    const event = new TaskPriorityChangeEvent('prioritychange', {
      previousPriority: 'background',
      cancelable: true,
    });
    expect([event.type, event.previousPriority, event.cancelable, event.bubbles]).to.deep.equal([
      'prioritychange',
      'background',
      true,
      false,
    ]);
    expect(event).to.be.instanceOf(Event);
    expect(Object.prototype.toString.call(event)).to.equal('[object TaskPriorityChangeEvent]');
    for (const init of [undefined, {}, { previousPriority: 'urgent' }, 1]) {
      expect(() => new TaskPriorityChangeEvent('prioritychange', broken(init))).to.throw(TypeError);
    }
  });
});

// create + schedule + stop + drop, against setTimeout + clearTimeout, which makes an object too.

import { Kcont, wq } from '../lib/index.ts';
import { costs, type Bench, type Case } from './harness/bench.ts';
import { bareObject, clockRead } from './harness/floors.ts';
import { expectSame, sink, timed } from './harness/timed.ts';

const DELAY_MS = 30_000;

interface Connection {
  closed: number;
}

let fired = 0;
const conn: Connection = { closed: 0 };
const close = (it: Connection): void => {
  it.closed++;
  fired++;
};

function dropped(): Case {
  let stopped = 0;
  return {
    name: 'create, schedule, stop, drop',
    metrics: costs('ns', { against: 'setTimeout + clearTimeout', atLeast: 4 }),
    sides: () => [
      timed('kcont', 'kcont', {
        run(ops) {
          stopped = 0;
          for (let i = 0; i < ops; i++) {
            const kc = new Kcont(wq.softclock, null, close, conn);
            kc.schedule(DELAY_MS);
            if (!kc.stop()) stopped++;
          }
        },
        check(ops) {
          expectSame('timers armed and stopped', stopped, ops);
          expectSame('functions entered', fired, 0);
        },
      }),
      timed('peer', 'setTimeout + clearTimeout', {
        run(ops) {
          for (let i = 0; i < ops; i++) clearTimeout(setTimeout(close, DELAY_MS, conn));
        },
        check: () => expectSame('functions called', fired, 0),
      }),
      bareObject(),
      clockRead(),
    ],
  };
}

/** A deadline of its own for each call, as grpc-js, nats and fastify have it. */
function destroyed(): Case {
  let idle = 0;
  return {
    name: 'create, schedule, destroy; a closure each',
    metrics: costs('ns', { against: 'setTimeout + clearTimeout', atLeast: 4 }),
    sides: () => [
      timed('kcont', 'kcont', {
        run(ops) {
          idle = 0;
          for (let i = 0; i < ops; i++) {
            const call = { id: i };
            const kc = new Kcont(wq.softclock, null, () => sink(call.id), null);
            kc.schedule(DELAY_MS);
            kc.destroy();
            if (!kc.busy) idle++;
          }
        },
        check: (ops) => expectSame('continuations destroyed', idle, ops),
      }),
      timed('peer', 'setTimeout + clearTimeout', {
        run(ops) {
          for (let i = 0; i < ops; i++) {
            const call = { id: i };
            clearTimeout(setTimeout(() => sink(call.id), DELAY_MS));
          }
        },
      }),
      bareObject(),
      clockRead(),
    ],
  };
}

export const bench: Bench = {
  name: 'create',
  about: 'A timer is made, armed, stopped and dropped. The time for all, with the garbage.',
  cases: () => [dropped(), destroyed()],
};

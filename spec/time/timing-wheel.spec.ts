import { expect } from 'chai';
import fc from 'fast-check';
import { stamp } from '../../lib/base/ordered-list.ts';
import { BLOCK, FAR, Wheel } from '../../lib/time/timing-wheel.ts';
import { Alarm } from '../support/alarm.ts';

/** The simplest wheel: an array. */
class Model {
  readonly timers: { name: string; due: number; seq: number }[] = [];
  tick = 0;

  advance(to: number): string[] {
    this.timers.sort((a, b) => a.due - b.due || a.seq - b.seq);
    const expired: string[] = [];
    while (this.timers.length > 0 && this.timers[0]!.due <= to) {
      const { name, due } = this.timers.shift()!;
      expired.push(`${name}@${due}`);
    }
    this.tick = to;
    return expired;
  }
}

const edges = [1, 2, 3, 62, 63, 64, 65, 127, 128, 4095, 4096, 4097, 2 ** 18, 2 ** 24 + 1];
const farEdges = [BLOCK - 1, BLOCK, BLOCK + 1, FAR - 1, FAR, FAR + 1, 2 ** 40, 2 ** 53 - 1];
const delay = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...edges) },
  { weight: 2, arbitrary: fc.nat(300).map((n) => n + 1) },
  { weight: 1, arbitrary: fc.constantFrom(...farEdges) },
);
const step = fc.oneof(
  fc.record({ op: fc.constant('add' as const), timer: fc.nat(7), delay }),
  fc.record({ op: fc.constant('later' as const), timer: fc.nat(7), delay }),
  fc.record({ op: fc.constant('remove' as const), timer: fc.nat(7), delay }),
  fc.record({ op: fc.constant('advance' as const), timer: fc.nat(7), delay }),
);

const nothing = (): void => undefined;

describe('Wheel', () => {
  it('expires timers like an array sorted by (due tick, sequence)', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const wheel = new Wheel<Alarm>(1000);
        const model = new Model();
        model.tick = 1000;
        const alarms = Array.from({ length: 8 }, (_, i) => new Alarm(`t${i}`));
        const inWheel = new Set<Alarm>();
        let seq = 0;
        const expired: string[] = [];
        for (const { op, timer, delay: ticks } of steps) {
          const alarm = alarms[timer]!;
          const due = model.tick + ticks;
          if (op === 'advance') {
            const next = wheel.nextTick();
            expect(next).to.be.at.most(Math.min(...model.timers.map((t) => t.due)));
            expect(next).to.be.at.least(wheel.tick);
            expired.length = 0;
            let base = wheel.base;
            wheel.advance(
              due,
              (it) => {
                inWheel.delete(it);
                expired.push(`${it.name}@${wheel.tick}`);
                // The callback for a new base is called before anything expires relative to it.
                expect(wheel.base).to.equal(base);
              },
              (by) => void (base += by),
            );
            expect(expired).to.deep.equal(model.advance(due));
            expect(wheel.tick).to.equal(due);
          } else if (op === 'add' && !inWheel.has(alarm)) {
            stamp(alarm);
            wheel.setDue(alarm, due - wheel.base);
            wheel.add(alarm);
            inWheel.add(alarm);
            model.timers.push({ name: alarm.name, due, seq: seq++ });
          } else if (op === 'later' && inWheel.has(alarm)) {
            // A deadline that moves outward is only stored, and keeps its sequence number.
            const entry = model.timers.find(({ name }) => name === alarm.name)!;
            if (due > entry.due) {
              entry.due = due;
              wheel.setDue(alarm, due - wheel.base);
            }
          } else if (op === 'remove' && inWheel.has(alarm)) {
            wheel.remove(alarm);
            inWheel.delete(alarm);
            model.timers.splice(
              model.timers.findIndex(({ name }) => name === alarm.name),
              1,
            );
          }
          for (const { name, due: at } of model.timers) {
            expect(wheel.dueTick(alarms[Number(name.slice(1))]!)).to.equal(at);
          }
          expect(wheel.count).to.equal(model.timers.length);
          expect([...wheel].length).to.equal(model.timers.length);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('keeps the order at one tick, by whichever way entries came to its slot', () => {
    const wheel = new Wheel<Alarm>(0);
    const ran: string[] = [];
    const add = (name: string, due: number): Alarm => {
      const alarm = new Alarm(name);
      stamp(alarm);
      wheel.setDue(alarm, due - wheel.base);
      wheel.add(alarm);
      return alarm;
    };
    const lazy = add('lazy', 50);
    add('cascaded', 200);
    wheel.advance(10, nothing, nothing);
    lazy._due = 200;
    wheel.advance(150, nothing, nothing);
    add('direct', 200);
    const moved = add('moved', 180);
    moved._due = 200;
    wheel.advance(200, ({ name }) => void ran.push(name), nothing);
    expect(ran).to.deep.equal(['lazy', 'cascaded', 'direct', 'moved']);
  });

  it('tells the first due tick if few timers are in the next slot', () => {
    for (const count of [1, 8, 9]) {
      const wheel = new Wheel<Alarm>(0);
      const alarms = Array.from({ length: count }, (_, i) => new Alarm(`t${i}`));
      for (const [i, alarm] of alarms.entries()) {
        stamp(alarm);
        wheel.setDue(alarm, 5000 - i);
        wheel.add(alarm);
      }
      expect(wheel.nextTick()).to.equal(count > 8 ? 4096 : 5001 - count);
      for (const alarm of alarms) wheel.setDue(alarm, 2 ** 20);
      // It does not look beyond the end of the slot.
      expect(wheel.nextTick()).to.equal(count > 8 ? 4096 : 8192);
    }
  });

  it('tells a later tick if the first due one is not a number', () => {
    const wheel = new Wheel<Alarm>(2 ** 55);
    const alarm = new Alarm('odd');
    stamp(alarm);
    wheel.setDue(alarm, 3);
    wheel.add(alarm);
    expect(wheel.nextTick()).to.equal(2 ** 55 + 8);
  });

  it('jumps over an empty stretch of 2^53 ticks at the cost of the timers due', () => {
    const wheel = new Wheel<Alarm>(0);
    const alarm = new Alarm('last');
    stamp(alarm);
    wheel.setDue(alarm, 2 ** 53 - 1);
    wheel.add(alarm);
    const ran: number[] = [];
    let steps = 0;
    for (let next = wheel.nextTick(); next < Infinity; next = wheel.nextTick()) {
      wheel.advance(next, () => void ran.push(wheel.tick), nothing);
      steps++;
    }
    expect(ran).to.deep.equal([2 ** 53 - 1]);
    expect(steps).to.be.at.most(7);
  });
});

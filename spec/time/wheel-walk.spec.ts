import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { stamp } from '../../lib/base/ordered-list.ts';
import { BLOCK, Wheel } from '../../lib/time/timing-wheel.ts';
import type { WheelWalk } from '../../lib/time/wheel-walk.ts';
import { Alarm } from '../support/alarm.ts';
import { soak } from '../support/lab.ts';

function put(wheel: Wheel<Alarm<number>>, alarm: Alarm<number>, ticks: number): void {
  stamp(alarm);
  wheel.setDue(alarm, wheel.tick - wheel.base + ticks);
  wheel.add(alarm);
}

function advance(wheel: Wheel<Alarm<number>>, ticks: number): Alarm<number>[] {
  const expired: Alarm<number>[] = [];
  wheel.advance(
    wheel.tick + ticks,
    (alarm) => expired.push(alarm),
    () => undefined,
  );
  return expired;
}

function rest(walk: WheelWalk<Alarm<number>>): number[] {
  const found: number[] = [];
  for (let alarm = walk.next(); alarm !== undefined; alarm = walk.next()) found.push(alarm.name);
  return found;
}

/** A wheel with timers that are due after so many ticks, named by them. */
function wheelOf(...ticks: readonly number[]): {
  wheel: Wheel<Alarm<number>>;
  alarms: Alarm<number>[];
} {
  const wheel = new Wheel<Alarm<number>>(0);
  const alarms = ticks.map((name) => new Alarm(name));
  for (const alarm of alarms) put(wheel, alarm, alarm.name);
  return { wheel, alarms };
}

const ticks = fc.constantFrom(
  1,
  2,
  63,
  64,
  65,
  100,
  4095,
  4096,
  4097,
  300_000,
  BLOCK - 1,
  BLOCK + 7,
);
const step = fc.record({
  op: fc.constantFrom('next', 'next', 'add', 'move', 'later', 'remove', 'advance'),
  timer: fc.nat(19),
  ticks,
});

describe('WheelWalk', () => {
  it('finds each timer that is in the wheel from the beginning to the end', () => {
    fc.assert(
      fc.property(
        fc.array(ticks, { minLength: 1, maxLength: 20 }),
        fc.array(step, { maxLength: 60 }),
        (first, steps) => {
          const wheel = new Wheel<Alarm<number>>(0);
          const alarms = Array.from({ length: 20 }, (_, name) => new Alarm(name));
          const inWheel = new Set<Alarm<number>>();
          for (const [at, due] of first.entries()) {
            put(wheel, alarms[at] as Alarm<number>, due);
            inWheel.add(alarms[at] as Alarm<number>);
          }
          const stayed = new Set(inWheel);
          const moved = new Set<Alarm<number>>();
          const found: Alarm<number>[] = [];
          const walk = wheel.walk();
          for (const { op, timer, ticks: by } of steps) {
            const alarm = alarms[timer] as Alarm<number>;
            const has = inWheel.has(alarm);
            if (op === 'next') {
              const next = walk.next();
              if (next !== undefined) found.push(next);
            } else if (op === 'add' && !has) {
              put(wheel, alarm, by);
              inWheel.add(alarm);
            } else if (op === 'move' && has) {
              wheel.remove(alarm);
              put(wheel, alarm, by);
              moved.add(alarm);
            } else if (op === 'later' && has) {
              const due = wheel.dueTick(alarm) + by - wheel.base;
              wheel.setDue(alarm, due);
              moved.add(alarm);
            } else if (op === 'remove' && has) {
              wheel.remove(alarm);
              inWheel.delete(alarm);
              stayed.delete(alarm);
            } else if (op === 'advance') {
              for (const one of inWheel) moved.add(one);
              for (const one of advance(wheel, by)) {
                inWheel.delete(one);
                stayed.delete(one);
              }
            }
          }
          for (let next = walk.next(); next !== undefined; next = walk.next()) found.push(next);
          expect([...stayed].filter((alarm) => !found.includes(alarm))).to.deep.equal([]);
          // Twice only what has been moved.
          for (const alarm of stayed) {
            if (moved.has(alarm)) continue;
            expect(found.filter((one) => one === alarm)).to.have.length(1);
          }
        },
      ),
      { numRuns: 300 * soak },
    );
  });

  it('finds nothing in an empty wheel', () => {
    expect(rest(new Wheel<Alarm<number>>(0).walk())).to.deep.equal([]);
  });

  it('goes on behind a timer that is removed when its turn has come', () => {
    const { wheel, alarms } = wheelOf(5, 5, 5);
    const walk = wheel.walk();
    expect(walk.next()).to.equal(alarms[0]);
    wheel.remove(alarms[1] as Alarm<number>);
    expect(walk.next()).to.equal(alarms[2]);
    // It left a list; whether it is still a timer, the caller knows.
    expect(rest(walk)).to.deep.equal([5]);
    expect(walk.next()).to.equal(undefined);
  });

  it('finds one that is moved to where it has been already', () => {
    const { wheel, alarms } = wheelOf(1, 2, 5000);
    const walk = wheel.walk();
    expect([walk.next()?.name, walk.next()?.name]).to.deep.equal([1, 2]);
    wheel.remove(alarms[2] as Alarm<number>);
    put(wheel, alarms[2] as Alarm<number>, 1);
    expect(rest(walk)).to.deep.equal([5000]);
  });

  it('finds those whose list has cascaded to where it has been already', () => {
    const { wheel } = wheelOf(1, 70, 71, BLOCK + 5);
    const walk = wheel.walk();
    expect(walk.next()?.name).to.equal(1);
    advance(wheel, 64);
    expect(new Set(rest(walk))).to.deep.equal(new Set([70, 71, BLOCK + 5]));
    const late = wheelOf(1, BLOCK + 5);
    const overflow = late.wheel.walk();
    expect(overflow.next()?.name).to.equal(1);
    advance(late.wheel, BLOCK);
    expect(new Set(rest(overflow))).to.deep.equal(new Set([BLOCK + 5]));
  });

  it('finds the rest of the list that cascades while it is walked through', () => {
    const { wheel } = wheelOf(70, 71, 72);
    const walk = wheel.walk();
    expect(walk.next()?.name).to.equal(70);
    advance(wheel, 64);
    expect(new Set(rest(walk))).to.deep.equal(new Set([71, 72]));
  });

  it('is told nothing any more after its end, nor when all lists have been walked through', () => {
    const { wheel, alarms } = wheelOf(1, 2, 70);
    const ended = wheel.walk();
    ended.next();
    wheel.remove(alarms[1] as Alarm<number>);
    ended.end();
    expect(ended.next()).to.equal(undefined);
    const over = wheel.walk();
    rest(over);
    wheel.remove(alarms[0] as Alarm<number>);
    advance(wheel, 64);
    expect([
      ended.leaves(alarms[2] as Alarm<number>),
      over.leaves(alarms[2] as Alarm<number>),
    ]).to.deep.equal([false, false]);
    over.empties(0);
    expect([ended.next(), over.next()]).to.deep.equal([undefined, undefined]);
  });

  it('keeps no timers that are started and stopped while it is interrupted', () => {
    const { wheel, alarms } = wheelOf(1, 5000);
    const walk = wheel.walk();
    walk.next();
    for (let n = 0; n < 5000; n++) {
      const alarm = new Alarm(-n);
      put(wheel, alarm, 10);
      wheel.remove(alarm);
    }
    const found = rest(walk);
    expect(found).to.include(alarms[1]?.name);
    expect(found.length).to.be.at.most(1026);
  });
});

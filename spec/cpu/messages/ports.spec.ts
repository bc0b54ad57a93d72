// The ports between CPUs, with both ends in one thread.
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { expect } from 'chai';
import { afterEach, describe, it } from 'mocha';
import sinon from 'sinon';
import { settled } from '../../support/lab.ts';
import { Ports } from '../../../lib/cpu/messages/ports.ts';
import {
  ASLEEP,
  AWAKE,
  Memory,
  WOKEN,
  WOKEN_AT,
  SLEEP,
  sleepOf,
} from '../../../lib/cpu/memory/shared-memory.ts';

interface End {
  readonly ports: Ports;
  /** The port messages that this CPU has posted. */
  readonly posted: unknown[];
  /** Delivers a message that cannot be deserialized. */
  breakMessage(): void;
  readonly calls: { nowMs(): number; woken: sinon.SinonSpy; refresh: sinon.SinonSpy };
}

const ends: Ports[] = [];

/** Two connected CPUs, both asleep. */
function connected(): { memory: Memory; zero: End; one: End } {
  const memory = Memory.make(3, 3);
  const { port1, port2 } = new MessageChannel();
  return { memory, zero: end(memory, 0, port1), one: end(memory, 1, port2) };
}

function end(memory: Memory, here: number, port: MessagePort): End {
  const calls = { nowMs: () => 42, woken: sinon.spy(), refresh: sinon.spy() };
  const ports = new Ports(memory, here, calls);
  const posted: unknown[] = [];
  const { postMessage } = port;
  port.postMessage = (message: unknown, transfer?: never) => {
    postMessage.call(port, message, transfer as never);
    posted.push(message);
  };
  ports.connect(1 - here, port, 0);
  ends.push(ports);
  const breakMessage = (): void => {
    (port as unknown as { emit(type: string, event: unknown): void }).emit('messageerror', {});
  };
  return { ports, posted, calls, breakMessage };
}

function sleepAt(memory: Memory, cpu: number): number {
  return sleepOf(memory.words[memory.slot(cpu) + SLEEP] as number);
}

describe('the ports of a CPU', () => {
  afterEach(() => {
    for (const ports of ends.splice(0)) ports.close();
  });

  it('wake a sleeping CPU once, and not one that is awake', () => {
    const { memory, zero, one } = connected();
    zero.ports.wake(1);
    zero.ports.wake(1);
    expect([zero.posted, sleepAt(memory, 1)]).to.deep.equal([[0], WOKEN]);
    expect(memory.floats[(memory.slot(1) + WOKEN_AT) >> 1]).to.equal(42);
    one.ports.setAwake();
    zero.ports.wake(1);
    expect([zero.posted, sleepAt(memory, 1)]).to.deep.equal([[0], AWAKE]);
    one.ports.setAsleep();
    zero.ports.wake(1);
    expect(zero.posted).to.deep.equal([0, 0]);
  });

  it('request a pass when a CPU wakes itself', () => {
    const { zero } = connected();
    zero.ports.wake(0);
    zero.ports.wake(0);
    expect([zero.posted, zero.calls.woken.callCount]).to.deep.equal([[], 1]);
  });

  it('send no wake-up to a CPU that a posted value will wake', () => {
    const { memory, zero } = connected();
    const name = zero.ports.post(1, 'value');
    expect([zero.posted, sleepAt(memory, 1)]).to.deep.equal([[[name, 'value']], WOKEN]);
    zero.ports.wake(1);
    expect(zero.posted).to.have.length(1);
  });

  it('wake a CPU that the value has woken already and that sleeps again', () => {
    const { zero, one } = connected();
    const name = zero.ports.post(1, 'value');
    one.ports.setAwake();
    one.ports.setAsleep();
    zero.ports.wake(1);
    expect(zero.posted).to.deep.equal([[name, 'value'], 0]);
  });

  it('wake a CPU that wakes and sleeps again while the value is being copied', () => {
    const { memory, zero, one } = connected();
    const value = {
      get slow(): number {
        one.ports.setAwake();
        one.ports.setAsleep();
        return 1;
      },
    };
    zero.ports.post(1, value);
    expect(sleepAt(memory, 1)).to.equal(ASLEEP);
    zero.ports.wake(1);
    expect(zero.posted.at(-1)).to.equal(0);
  });

  it('leave a CPU asleep for a value that cannot be cloned', () => {
    const { memory, zero } = connected();
    expect(() => zero.ports.post(1, () => 1)).to.throw('could not be cloned');
    expect([zero.posted, sleepAt(memory, 1)]).to.deep.equal([[], ASLEEP]);
  });

  it('leave a CPU asleep that has no thread', () => {
    const { memory, zero } = connected();
    expect(zero.ports.post(2, 'value')).to.equal(0);
    expect(sleepAt(memory, 2)).to.equal(ASLEEP);
  });

  it('request a pass when a value is claimed, because its message may have been the wake-up', () => {
    const { zero, one } = connected();
    zero.ports.wake(1);
    const name = zero.ports.post(1, 'value');
    expect(one.ports.claim(0, name)).to.deep.equal(['value']);
    expect(one.calls.woken.called).to.equal(true);
    one.calls.woken.resetHistory();
    expect(one.ports.claim(0, name)).to.equal(undefined);
    expect(one.calls.woken.called).to.equal(false);
  });

  it('request a pass when a message cannot be read, because it may have been the wake-up', () => {
    const { one } = connected();
    one.breakMessage();
    expect(one.calls.woken.callCount).to.equal(1);
  });

  it('tell whether a value that cannot be claimed has arrived and cannot be read', async () => {
    const { zero, one } = connected();
    const first = zero.ports.post(1, 'first');
    await settled();
    one.breakMessage();
    const [second, third] = [zero.ports.post(1, 'second'), zero.ports.post(1, 'third')];
    await settled();
    expect(one.ports.claim(0, second)).to.deep.equal(['second']);
    expect(one.ports.isBroken(0, third), 'it has come').to.equal(false);
    // A name in the range of the message that could not be read.
    const between = (first + second) / 2;
    expect(one.ports.claim(0, between)).to.equal(undefined);
    expect([one.ports.isBroken(0, between), one.ports.isBroken(0, between)]).to.deep.equal([
      true,
      false,
    ]);
    expect(one.ports.isBroken(2, 1), 'nobody is there').to.equal(false);
  });

  it('read the messages after one that cannot be read', () => {
    const { zero, one } = connected();
    const frame = new Uint8Array(8);
    zero.ports.post(1, frame, [frame.buffer]);
    let broken: number;
    try {
      broken = zero.ports.post(1, frame, [frame.buffer]);
    } catch {
      // This version of Node refuses it when it is posted; others cannot read it.
      expect(one.ports.isBroken(0, 2)).to.equal(false);
      return;
    }
    const next = zero.ports.post(1, 'next');
    expect(one.ports.claim(0, next)).to.deep.equal(['next']);
    expect(one.ports.claim(0, broken)).to.equal(undefined);
    expect(one.ports.isBroken(0, broken)).to.equal(true);
  });

  it('request a pass when another thread replaces one that may have sent a wake-up', () => {
    const { zero, one } = connected();
    zero.ports.wake(1);
    const { port1, port2 } = new MessageChannel();
    one.ports.connect(0, port1, 0);
    expect(one.calls.woken.callCount).to.equal(1);
    port2.close();
  });

  it('give each value a name of its own, even if its getters post other values', () => {
    const { zero, one } = connected();
    let inner = 0;
    const value = {
      get other(): number {
        return (inner = zero.ports.post(1, 'inner'));
      },
    };
    const outer = zero.ports.post(1, value);
    expect(one.ports.claim(0, outer)).to.deep.equal([{ other: inner }]);
    expect(one.ports.claim(0, inner)).to.deep.equal(['inner']);
  });
});

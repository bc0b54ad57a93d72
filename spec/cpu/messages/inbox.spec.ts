// Inboxes, and the shared memory that contains them, as one thread can see them.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Inbox, type Message } from '../../../lib/cpu/messages/inbox.ts';
import { Memory } from '../../../lib/cpu/memory/shared-memory.ts';

function taken(inbox: Inbox): number[] {
  const values: number[] = [];
  inbox.take((message: Message) => {
    values.push(message.value);
  });
  return values;
}

describe('the inbox of a CPU', () => {
  it('is read in the order in which its messages were sent, by whichever CPU', () => {
    const memory = Memory.make(3, 3);
    const [zero, one, two] = [0, 1, 2].map((cpu) => new Inbox(memory, cpu)) as [
      Inbox,
      Inbox,
      Inbox,
    ];
    for (let i = 0; i < 10; i++) (i % 2 === 0 ? zero : one).send(2, 1, 0, 0, 0, 0, i);
    expect([two.waiting, zero.waiting]).to.deep.equal([true, false]);
    expect(taken(two)).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(two.waiting).to.equal(false);
  });

  it('delivers all fields of a message', () => {
    const memory = Memory.make(2, 2);
    new Inbox(memory, 0).send(1, 7, 96, 3, -5, 2 ** 31 - 1, 0.25);
    const messages: Message[] = [];
    new Inbox(memory, 1).take((message) => {
      messages.push({ ...message });
    });
    expect(messages).to.deep.equal([
      { kind: 7, from: 0, block: 96, handle: 3, generation: -5, seq: 2 ** 31 - 1, value: 0.25 },
    ]);
  });

  it('reuses messages: a million of them need no more memory than a burst', () => {
    const memory = Memory.make(2, 2);
    const [sender, reader] = [new Inbox(memory, 0), new Inbox(memory, 1)] as const;
    for (let i = 0; i < 500; i++) sender.send(1, 1, 0, 0, 0, 0, i);
    expect(taken(reader)).to.have.length(500);
    const used = memory.words[0];
    for (let round = 0; round < 400; round++) {
      for (let i = 0; i < 250; i++) sender.send(1, 1, 0, 0, 0, 0, i);
      for (let i = 0; i < 250; i++) reader.send(1, 1, 0, 0, 0, 0, i);
      expect(taken(reader)).to.have.length(500);
    }
    // The reader's own messages come from its own slab.
    expect((memory.words[0] as number) - (used as number)).to.be.at.most(128);
  });

  it('loses no message if reading one throws: the next call reads those after it', () => {
    const memory = Memory.make(2, 2);
    const [sender, reader] = [new Inbox(memory, 0), new Inbox(memory, 1)] as const;
    const read: number[] = [];
    const take = (): void =>
      reader.take(({ value }) => {
        if (value % 3 === 0) throw new Error(`${value}`);
        read.push(value);
      });
    for (let i = 0; i < 6; i++) sender.send(1, 1, 0, 0, 0, 0, i);
    expect(take).to.throw('0');
    sender.send(1, 1, 0, 0, 0, 0, 7);
    expect([reader.waiting, read]).to.deep.equal([true, []]);
    expect(take).to.throw('3');
    expect(take).to.not.throw();
    expect([reader.waiting, read]).to.deep.equal([false, [1, 2, 4, 5, 7]]);
    const used = memory.words[0];
    for (let i = 0; i < 6; i++) sender.send(1, 1, 0, 0, 0, 0, 1);
    expect(memory.words[0], 'all of them are used again').to.equal(used);
  });

  it('is never full: the memory grows, and others see it', () => {
    const memory = Memory.make(2, 2);
    const elsewhere = new Memory(memory.buffer);
    const before = memory.buffer.byteLength;
    const sender = new Inbox(memory, 0);
    for (let i = 0; i < 50_000; i++) sender.send(1, 1, 0, 0, 0, 0, i);
    expect(memory.buffer.byteLength).to.be.greaterThan(before);
    const values = taken(new Inbox(elsewhere, 1));
    expect([values.length, values[0], values.at(-1)]).to.deep.equal([50_000, 0, 49_999]);
  });

  it('leaves messages that are sent while it is read for the next call', () => {
    const memory = Memory.make(2, 2);
    const inbox = new Inbox(memory, 0);
    inbox.send(0, 1, 0, 0, 0, 0, 1);
    const values: number[] = [];
    inbox.take(({ value }) => {
      values.push(value);
      if (value < 3) inbox.send(0, 1, 0, 0, 0, 0, value + 1);
    });
    expect(values).to.deep.equal([1]);
    expect(taken(inbox)).to.deep.equal([2]);
  });
});

describe('the memory of the CPUs', () => {
  it('grows by whole steps, and says when it cannot', () => {
    const memory = Memory.make(2, 2);
    const first = memory.grab(2);
    expect(memory.grab(2) - first).to.equal(32);
    expect(() => memory.grab(2 ** 25)).to.throw('the memory shared by CPUs is full');
  });

  it('gives two CPUs that allocate at once different units', () => {
    const memory = Memory.make(2, 2);
    const other = new Memory(memory.buffer);
    const places = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? memory : other).grab(64));
    expect(new Set(places).size).to.equal(100);
    // Both views reach to the last unit.
    other.words[Math.max(...places)] = 7;
    memory.reach(Math.max(...places));
    expect(memory.words[Math.max(...places)]).to.equal(7);
  });
});

// The word of a control block, and the section that protects more than the word.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import {
  BITS,
  BUSY,
  generationOf,
  isCounted,
  nextGeneration,
  packSpec,
  affinityOf,
  isPerCpu,
  kindOf,
  priorityOf,
  sharesOf,
  readWord,
  rescueWord,
} from '../../../lib/cpu/memory/control-block.ts';
import { Memory } from '../../../lib/cpu/memory/shared-memory.ts';
import { EXPIRED, PENDING, QUEUED, RUNNING, UNREF } from '../../../lib/core/state.ts';

describe('the word of a control block', () => {
  it('wraps generations around, and keeps the bits', () => {
    let word = nextGeneration(0, PENDING);
    expect([generationOf(word), word & BITS]).to.deep.equal([1, PENDING]);
    word = nextGeneration(-1, QUEUED);
    expect([generationOf(word), word & BITS]).to.deep.equal([0, QUEUED]);
    expect(generationOf(nextGeneration(2 ** 31 - 1, 0))).to.equal(2 ** 22);
  });

  it('keeps the process alive while it is scheduled or runs, unless it is unreferenced', () => {
    expect([0, EXPIRED, PENDING, QUEUED, RUNNING, PENDING | UNREF].map(isCounted)).to.deep.equal([
      false,
      false,
      true,
      true,
      true,
      false,
    ]);
  });

  it('packs the kind and the workqueue into another word', () => {
    const unpack = (spec: number): unknown[] => [
      priorityOf(spec),
      isPerCpu(spec),
      affinityOf(spec),
      kindOf(spec),
      sharesOf(spec),
    ];
    expect([
      unpack(packSpec({ priority: 223, perCpu: true, shares: undefined }, 2, 1)),
      unpack(packSpec({ priority: 0, perCpu: false, shares: 1000 }, 0, 0)),
    ]).to.deep.equal([
      [223, true, 2, 1, undefined],
      [0, false, 0, 0, 1000],
    ]);
  });
});

describe('the BUSY section of a control block', () => {
  it('is ended by a waiter when the thread in it does not leave it', () => {
    const memory = Memory.make(2, 2);
    const block = memory.grab(2);
    memory.words[block] = PENDING | BUSY;
    expect(rescueWord(memory, block)).to.equal(PENDING);
    expect(readWord(memory, block)).to.equal(PENDING);
    // A living thread would notice that, and start again.
    expect(Atomics.compareExchange(memory.words, block, PENDING | BUSY, QUEUED)).to.equal(PENDING);
  });
});

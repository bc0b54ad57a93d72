// Names of locks: what they show, and that a lock without a name has no field for it.

import { inspect } from 'node:util';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { SharedMutex, SharedRMLock, SharedRWLock, SharedSpinLock } from '../../lib/cpu/index.ts';
import { Mutex, RMLock, RWLock, SpinLock } from '../../lib/index.ts';

/** The own fields of an object, private ones included, as the inspector of Node shows them. */
function fieldsOf(lock: object): string {
  return inspect(lock, { customInspect: false, showHidden: true, depth: 0 });
}

describe('the name of a lock', () => {
  for (const Made of [Mutex, SpinLock, SharedMutex, SharedSpinLock]) {
    it(`is that of the options of a ${Made.name}, or empty`, () => {
      expect(new Made({ name: 'journal' }).name).to.equal('journal');
      expect(new Made({ name: undefined } as object).name).to.equal('');
      expect(new Made().name).to.equal('');
    });
  }

  for (const Made of [RWLock, RMLock, SharedRWLock, SharedRMLock]) {
    it(`of a ${Made.name} is that of its sides too`, () => {
      const lock = new Made({ name: 'routes' });
      expect([lock.name, lock.read.name, lock.write.name]).to.deep.equal([
        'routes',
        'routes.read',
        'routes.write',
      ]);
      expect(inspect(lock)).to.equal(`${Made.name} routes { free, 0 waiting }`);
      const unnamed = new Made();
      expect([unnamed.name, unnamed.read.name, unnamed.write.name]).to.deep.equal(['', '', '']);
    });
  }

  it('is shown by inspect and JSON', () => {
    const lock = new Mutex({ name: 'journal' });
    expect(inspect(lock)).to.equal('Mutex journal { free, 0 waiting }');
    expect(JSON.parse(JSON.stringify(lock))).to.deep.equal({
      name: 'journal',
      held: false,
      waiting: 0,
    });
  });

  it('takes no field of the lock', () => {
    expect(fieldsOf(new Mutex({ name: 'journal' }))).to.equal(fieldsOf(new Mutex()));
  });
});

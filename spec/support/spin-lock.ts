// Specs that hold for every lock for synchronous sections.
import { expect } from 'chai';
import type { Lock } from '../../lib/index.ts';
import { codeOf, Lab } from './lab.ts';

export function describeSpinLock(name: string, make: () => Lock): void {
  describe(name, () => {
    it('is taken and released within a section', () => {
      const lock = make();
      expect(lock.held).to.equal(false);
      expect(lock.tryEnter()).to.equal(true);
      expect(lock.held).to.equal(true);
      expect(lock.tryEnter()).to.equal(false);
      lock.exit();
      expect(lock.held).to.equal(false);
    });

    it('refuses exit while it is not held', () => {
      const lock = make();
      expect(codeOf(() => lock.exit())).to.equal('EPERM');
      expect(lock.held).to.equal(false);
    });

    it('is held while a sync function runs, on every workqueue', () => {
      const lab = new Lab();
      const lock = make();
      const held: boolean[] = [];
      for (const wq of [lab.wq.softnet, lab.wq.prilow]) {
        lab.sync('a', { lock, wq, body: () => held.push(lock.held) }).schedule(0);
      }
      lab.clock.tick(0);
      expect(held).to.deep.equal([true, true]);
      expect(lock.held).to.equal(false);
      expect(lab.errors).to.deep.equal([]);
    });

    it('is free after a throw', () => {
      const lab = new Lab();
      const lock = make();
      const kc = lab.sync('a', {
        lock,
        body: () => {
          throw new Error('boom');
        },
      });
      kc.schedule(0);
      lab.clock.tick(0);
      expect(lock.held).to.equal(false);
      expect(lab.reported).to.deep.equal(['boom']);
    });

    it('held across await by an async function is reported as EPERM, and is free in the end', async () => {
      const lab = new Lab();
      const lock = make();
      const kc = lab.async('a', { lock });
      kc.schedule(0);
      lab.clock.tick(0);
      await lab.end(kc);
      expect(lab.reported).to.deep.equal(['EPERM']);
      expect(lock.held).to.equal(false);
      expect(kc.busy).to.equal(false);
    });

    it('busy within a section holds a continuation up, and no others', () => {
      const lab = new Lab();
      const lock = make();
      const waits = lab.sync('waits', { lock });
      const other = lab.sync('other');
      lock.tryEnter();
      waits.schedule(0);
      other.schedule(0);
      lab.clock.tick(0);
      lock.exit();
      expect(lab.take()).to.deep.equal(['other']);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['waits']);
    });
  });
}

// Specs that hold for both kinds of lock with a read side and a write side.
import { expect } from 'chai';
import type { Lock } from '../../lib/index.ts';
import { codeOf, Lab, rejectionOf, settled } from './lab.ts';

export interface SharedLock {
  readonly read: Lock;
  readonly write: Lock;
}

function wait(
  lab: Lab,
  lock: Lock,
  name: string,
  options?: { priority?: number; signal?: AbortSignal },
): void {
  lock.enter(options).then(
    () => lab.ran.push(name),
    () => lab.ran.push(`${name} aborted`),
  );
}

export function describeSharedLock(name: string, make: () => SharedLock): void {
  describe(name, () => {
    it('has the same two sides every time', () => {
      const lock = make();
      expect(lock.read).to.equal(lock.read);
      expect(lock.write).to.equal(lock.write);
      expect(lock.read).to.not.equal(lock.write);
    });

    it('starts free', () => {
      const { read, write } = make();
      expect([read.held, write.held]).to.deep.equal([false, false]);
    });

    it('admits readers together, and keeps the writer out until the last has left', () => {
      const { read, write } = make();
      expect(read.tryEnter()).to.equal(true);
      expect(read.tryEnter()).to.equal(true);
      expect(write.tryEnter()).to.equal(false);
      read.exit();
      expect([read.held, write.held]).to.deep.equal([true, false]);
      expect(write.tryEnter()).to.equal(false);
      read.exit();
      expect([read.held, write.held]).to.deep.equal([false, false]);
      expect(write.tryEnter()).to.equal(true);
    });

    it('admits one writer alone', () => {
      const { read, write } = make();
      expect(write.tryEnter()).to.equal(true);
      expect([read.held, write.held]).to.deep.equal([false, true]);
      expect(write.tryEnter()).to.equal(false);
      expect(read.tryEnter()).to.equal(false);
      write.exit();
      expect(read.tryEnter()).to.equal(true);
    });

    it('refuses exit of a side that is not held', () => {
      const { read, write } = make();
      expect(codeOf(() => read.exit())).to.equal('EPERM');
      expect(codeOf(() => write.exit())).to.equal('EPERM');
      read.tryEnter();
      expect(codeOf(() => write.exit())).to.equal('EPERM');
      read.exit();
      expect(codeOf(() => read.exit())).to.equal('EPERM');
      write.tryEnter();
      expect(codeOf(() => read.exit())).to.equal('EPERM');
      expect(write.held).to.equal(true);
    });

    it('admits all readers that waited for a writer', async () => {
      const lab = new Lab();
      const { read, write } = make();
      write.tryEnter();
      wait(lab, read, 'a');
      wait(lab, read, 'b');
      write.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['a', 'b']);
      read.exit();
      expect(read.held).to.equal(true);
      read.exit();
      expect(read.held).to.equal(false);
    });

    it('does not let a reader pass a waiting writer', async () => {
      const lab = new Lab();
      const { read, write } = make();
      read.tryEnter();
      wait(lab, write, 'writer');
      wait(lab, read, 'reader');
      await settled();
      expect(lab.take()).to.deep.equal([]);
      read.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['writer']);
      write.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['reader']);
    });

    it('lets a reader of higher priority pass', async () => {
      const lab = new Lab();
      const { read, write } = make();
      read.tryEnter();
      wait(lab, write, 'writer', { priority: 100 });
      wait(lab, read, 'low', { priority: 99 });
      wait(lab, read, 'same', { priority: 100 });
      wait(lab, read, 'high', { priority: 101 });
      await settled();
      expect(lab.take()).to.deep.equal(['high']);
      read.exit();
      read.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['writer']);
      write.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['same', 'low']);
    });

    it('admits readers up to the next writer, by priority and then by arrival', async () => {
      const lab = new Lab();
      const { read, write } = make();
      write.tryEnter();
      wait(lab, read, 'r1');
      wait(lab, write, 'w2');
      wait(lab, read, 'r3');
      wait(lab, write, 'w4', { priority: 200 });
      wait(lab, read, 'r5');
      write.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['w4']);
      write.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['r1']);
      read.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['w2']);
      write.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['r3', 'r5']);
    });

    it('admits the readers when the writer before them is aborted', async () => {
      const lab = new Lab();
      const { read, write } = make();
      read.tryEnter();
      const abort = new AbortController();
      wait(lab, write, 'writer', { signal: abort.signal });
      wait(lab, read, 'reader');
      wait(lab, read, 'reader too');
      await settled();
      expect(lab.take()).to.deep.equal([]);
      abort.abort();
      await settled();
      expect(lab.take().toSorted()).to.deep.equal(['reader', 'reader too', 'writer aborted']);
    });

    it('refuses a signal that is already aborted', async () => {
      const { read, write } = make();
      const signal = AbortSignal.abort(new Error('too late'));
      expect(await rejectionOf(read.enter({ signal }))).to.equal('Error: too late');
      expect(await rejectionOf(write.enter({ signal }))).to.equal('Error: too late');
      expect([read.held, write.held]).to.deep.equal([false, false]);
    });

    describe('of continuations', () => {
      it('lets async readers overlap, and admits a writer only after them', async () => {
        const lab = new Lab();
        const { read, write } = make();
        const a = lab.async('a', { lock: read });
        const b = lab.async('b', { lock: read, wq: lab.wq.prilow });
        const w = lab.async('w', { lock: write, wq: lab.wq.prilow });
        const late = lab.async('late', { lock: read, wq: lab.wq.prilow });
        a.schedule(0);
        b.schedule(0);
        w.schedule(0);
        late.schedule(0);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['a', 'b']);
        await lab.end(a);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal([]);
        await lab.end(b);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['w']);
        expect([read.held, write.held]).to.deep.equal([false, true]);
        await lab.end(w);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['late']);
        await lab.end(late);
        expect([read.held, write.held]).to.deep.equal([false, false]);
        expect(lab.errors).to.deep.equal([]);
      });

      it('lets a reader of a higher workqueue pass a waiting writer', () => {
        const lab = new Lab();
        const { read, write } = make();
        read.tryEnter();
        lab.sync('writer', { lock: write, wq: lab.wq.prilow }).schedule(0);
        lab.clock.tick(0);
        lab.sync('low reader', { lock: read, wq: lab.wq.prilow }).schedule(0);
        lab.sync('high reader', { lock: read, wq: lab.wq.softnet }).schedule(0);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['high reader']);
        read.exit();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['writer', 'low reader']);
      });

      const ways: [name: string, leave: (kc: ReturnType<Lab['sync']>) => void][] = [
        ['stopped', (kc) => kc.stop()],
        ['destroyed', (kc) => kc.destroy()],
        ['reset to later', (kc) => kc.reset(1000)],
      ];
      for (const [how, leave] of ways) {
        it(`admits the readers when the writer before them is ${how}`, async () => {
          const lab = new Lab();
          const { read, write } = make();
          read.tryEnter();
          const writer = lab.sync('writer', { lock: write });
          writer.schedule(0);
          lab.clock.tick(0);
          lab.sync('reader', { lock: read }).schedule(0);
          lab.clock.tick(0);
          wait(lab, read, 'code');
          await settled();
          expect(lab.take()).to.deep.equal([]);
          leave(writer);
          lab.clock.tick(0);
          await settled();
          expect(lab.take().toSorted()).to.deep.equal(['code', 'reader']);
        });
      }

      it('is downgraded by the sequence in the proposal', () => {
        const lab = new Lab();
        const { read, write } = make();
        const kc = lab.sync('a', {
          lock: write,
          body: () => {
            kc.setLock(read);
            write.exit();
            expect(read.tryEnter()).to.equal(true);
          },
        });
        kc.schedule(0);
        lab.clock.tick(0);
        expect([read.held, write.held]).to.deep.equal([false, false]);
        expect(lab.errors).to.deep.equal([]);
      });
    });
  });
}

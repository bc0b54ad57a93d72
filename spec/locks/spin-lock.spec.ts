import { SpinLock } from '../../lib/index.ts';
import { describeSpinLock } from '../support/spin-lock.ts';

describeSpinLock('SpinLock', () => new SpinLock());

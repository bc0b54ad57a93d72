import { RWLock } from '../../lib/index.ts';
import { describeSharedLock } from '../support/shared-lock.ts';

describeSharedLock('RWLock', () => new RWLock());

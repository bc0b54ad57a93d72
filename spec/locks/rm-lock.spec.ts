import { RMLock } from '../../lib/index.ts';
import { describeSharedLock } from '../support/shared-lock.ts';

describeSharedLock('RMLock', () => new RMLock());

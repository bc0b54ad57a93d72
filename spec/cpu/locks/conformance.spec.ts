// On one CPU, a lock between CPUs behaves like a lock of one thread.

import { SharedMutex } from '../../../lib/cpu/locks/shared-mutex.ts';
import { SharedRMLock, SharedRWLock } from '../../../lib/cpu/locks/shared-rw-lock.ts';
import { SharedSpinLock } from '../../../lib/cpu/locks/shared-spin-lock.ts';
import { describeMutex } from '../../support/mutex-lock.ts';
import { describeSharedLock } from '../../support/shared-lock.ts';
import { describeSpinLock } from '../../support/spin-lock.ts';

describeMutex('SharedMutex', () => new SharedMutex());
describeSpinLock('SharedSpinLock', () => new SharedSpinLock());
describeSharedLock('SharedRWLock', () => new SharedRWLock());
describeSharedLock('SharedRMLock', () => new SharedRMLock());

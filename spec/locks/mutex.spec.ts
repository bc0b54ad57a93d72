import { Mutex } from '../../lib/index.ts';
import { describeMutex } from '../support/mutex-lock.ts';

describeMutex('Mutex', () => new Mutex());

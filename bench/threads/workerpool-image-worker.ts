// The worker file of workerpool for images, which wants its functions registered.

import { load, type WorkerpoolModule } from './peer.ts';
import * as work from './image-work.ts';

const { default: workerpool } = await load<WorkerpoolModule>('workerpool');
workerpool.worker({ ...work });

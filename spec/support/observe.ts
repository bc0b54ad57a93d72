// kcont/observe, for specs. Its import has all kernels of the process observed, which then take none of the
// short ways of the dispatcher. So only the kernels of its own specs are observed; all others run as in a program
// that has not imported it.

import { beforeEach } from 'mocha';
import { observing } from '../../lib/core/observer.ts';
import { kernel } from '../../lib/index.ts';

export * from '../../lib/observe/index.ts';

const { make } = observing;
const { _dispatcher: dispatcher } = kernel.wq.softclock;
const { observer } = dispatcher;

function observe(on: boolean): void {
  observing.make = on ? make : null;
  dispatcher.observer = on ? observer : null;
}

observe(false);

beforeEach(function () {
  observe(/[\\/]spec[\\/]observe[\\/]/.test(this.currentTest?.file ?? ''));
});

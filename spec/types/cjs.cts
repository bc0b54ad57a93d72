// A CommonJS consumer, TypeScript >= 5.8. See README.md.
import kcont = require('kcont');
import { Kcont } from 'kcont';
import { kcont_create, wq_softnet } from 'kcont/kern';

const made: Kcont<string> = kcont_create(wq_softnet, new kcont.Mutex(), () => {}, 'x', 0);
const same: typeof Kcont = kcont.Kcont;

export = { made, same };

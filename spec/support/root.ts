// Where the repository is: specs run from spec/ and, compiled, from build/spec/.
import { basename, dirname } from 'node:path';

/** The folder of spec/, lib/ and examples/ as they run. */
export const ABOVE: string = dirname(dirname(import.meta.dirname));
export const isCompiled: boolean = basename(ABOVE) === 'build';
/** The folder of package.json. */
export const ROOT: string = isCompiled ? dirname(ABOVE) : ABOVE;

import { Logger } from 'graphile-worker';
import { nothing } from '../../base/nothing.ts';

/**
 * A logger that writes nothing: errors go to `onError` of the node.
 *
 * @internal
 */
export const QUIET: Logger = new Logger(() => nothing);

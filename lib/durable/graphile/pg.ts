/*
 * The classes of pg. Versions before 8.15 are CommonJS without exports that can be imported by their names.
 */

import pg from 'pg';

/**
 * A connection.
 *
 * @internal
 */
export const Client: typeof pg.Client = pg.Client;
/** @internal */
export type Client = InstanceType<typeof pg.Client>;

/**
 * A pool of connections.
 *
 * @internal
 */
export const Pool: typeof pg.Pool = pg.Pool;
/** @internal */
export type Pool = InstanceType<typeof pg.Pool>;

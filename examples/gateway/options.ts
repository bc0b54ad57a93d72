import { parseArgs } from 'node:util';

/** The options of the command line. */
export type Options =
  | { readonly mode: 'help' }
  | { readonly mode: 'serve'; readonly port: number; readonly devices: number | undefined }
  | { readonly mode: 'demo'; readonly devices: number | undefined; readonly seconds: number };

/** The usage message. */
export const USAGE = `Usage: npm start                     devices against both gateways, about 25 seconds
       npm start -- [options]

  --devices N   how many devices connect (10 to 20000; default: what this machine can carry at
                present, 2000 at most)
  --seconds S   how long the two gateways take together, about (6 to 600; default 20)
  --serve       run as a server to talk to by hand, with nc for instance; it prints the link of an inspector.
                With --devices N, so many devices connect to it too
  --port N      with --serve: the port (default: one that is free)
  --help        this text`;

/** Thrown for an invalid command line. */
export class UsageError extends Error {}

/**
 * Parses the command line.
 * @throws UsageError
 */
export function parseOptions(args: readonly string[]): Options {
  const given = parse(args);
  if (given.help === true) return { mode: 'help' };
  const devices =
    given.devices === undefined ? undefined : wholeNumber('--devices', given.devices, 10, 20_000);
  if (given.serve === true) {
    if (given.seconds !== undefined) throw new UsageError('--seconds does not go with --serve');
    return { mode: 'serve', port: wholeNumber('--port', given.port ?? '0', 0, 65_535), devices };
  }
  if (given.port !== undefined) throw new UsageError('--port goes with --serve only');
  return {
    mode: 'demo',
    devices,
    seconds: wholeNumber('--seconds', given.seconds ?? '20', 6, 600),
  };
}

interface Given {
  readonly help?: boolean | undefined;
  readonly serve?: boolean | undefined;
  readonly port?: string | undefined;
  readonly devices?: string | undefined;
  readonly seconds?: string | undefined;
}

function parse(args: readonly string[]): Given {
  try {
    return parseArgs({
      args: [...args],
      options: {
        help: { type: 'boolean', short: 'h' },
        serve: { type: 'boolean' },
        port: { type: 'string' },
        devices: { type: 'string' },
        seconds: { type: 'string' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new UsageError(`${name} must be a whole number from ${least} to ${most}, got ${text}`);
}

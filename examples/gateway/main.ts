import { runDemo } from './demo/demo.ts';
import { USAGE, UsageError, parseOptions } from './options.ts';
import { serve } from './serve.ts';

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  try {
    const options = parseOptions(args);
    if (options.mode === 'serve') return await serve(options.port, options.devices);
    if (options.mode === 'demo') return await runDemo(options.devices, options.seconds);
    console.log(USAGE);
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`${error.message}\n\n${USAGE}`);
      return 2;
    }
    console.error(error instanceof Error ? `Failed: ${error.message}` : error);
    return 1;
  }
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { describe, it } from 'mocha';

const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.')); // .ts, or .js when compiled
const main = fileURLToPath(new URL(`../../examples/pipeline/main${ending}`, import.meta.url));

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the example; `use` is called with the first thing it prints. */
async function run(
  args: readonly string[],
  use?: (printed: string) => Promise<void>,
): Promise<Outcome> {
  const child = spawn(process.execPath, [main, ...args]);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const closed = once(child, 'close');
  if (use !== undefined) {
    await once(child.stdout, 'data');
    try {
      await use(stdout);
    } finally {
      child.kill('SIGTERM');
    }
  }
  await closed;
  return { code: child.exitCode, stdout, stderr };
}

describe('examples/pipeline', function () {
  this.timeout(60_000);

  it('is a server for manual tests that answers, refuses, and drains on SIGTERM', async () => {
    const statuses: number[] = [];
    const { code, stdout } = await run(['--serve'], async (printed) => {
      const url = /curl '(.*)'/.exec(printed)?.[1] ?? '';
      const answer = await fetch(url);
      statuses.push(answer.status);
      expect(await answer.text()).to.match(/^<h1>ann<\/h1><table>/);
      for (const wrong of [url.replace(/token=.*/, 'token=guessed'), url.replace(/\?.*/, '')]) {
        const refused = await fetch(wrong);
        statuses.push(refused.status);
        await refused.text();
      }
    });
    expect(statuses).to.deep.equal([200, 401, 400]);
    expect(code).to.equal(0);
    expect(stdout).to.match(/^site: closed, 0 inside, 1 done, 2 failed$/m);
  });

  it('refuses an unknown command line', async () => {
    for (const args of [
      ['--second', '3'],
      ['--seconds', 'few'],
    ]) {
      const { code, stderr } = await run(args);
      expect([code, /^Usage: node /m.test(stderr)]).to.deep.equal([2, true]);
    }
    const { code, stdout } = await run(['--help']);
    expect([code, stdout.startsWith('Usage: ')]).to.deep.equal([0, true]);
  });
});

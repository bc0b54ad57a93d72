// The page in a real browser: Debian's chromium, or another one.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import { expect } from 'chai';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { Kcont, Kernel, Mutex } from '../../../lib/index.ts';
import { serveInspector, type Inspector } from '../../../lib/observe/inspector/index.ts';
import { observe } from '../../support/observe.ts';
import { CHROMIUM, needsBrowser } from '../../support/browser.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SIZES = [
  { width: 360, height: 740 },
  { width: 1440, height: 900 },
] as const;
const MANY = 100_000;

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly html: string }[];
}

/** What axe-core finds on the page as it is. */
async function violations(page: Page): Promise<string[]> {
  // It is evaluated by the debugger, which the policy of the page does not apply to.
  await page.evaluate(AXE);
  const found = await page.evaluate<Violation[]>('axe.run().then((result) => result.violations)');
  return found.map(({ id, nodes }) => `${id}: ${nodes[0]?.html ?? ''}`);
}

describe('the page of the inspector', function () {
  this.timeout(120_000);
  needsBrowser(this);

  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let inspector: Inspector;
  let kernel: Kernel;
  let problems: string[];
  let work: { stop: () => void };

  before(async () => {
    browser = await chromium.launch({
      executablePath: CHROMIUM as string,
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    });
  });
  after(() => browser.close());

  beforeEach(async () => {
    kernel = new Kernel();
    inspector = await serveInspector({ kernel });
    work = busy(kernel);
    problems = [];
  });
  afterEach(async () => {
    await context.close();
    work.stop();
    await kernel.close({ graceMs: 0 });
    await inspector.close();
    expect(problems).to.deep.equal([]);
  });

  async function open(
    size: { readonly width: number; readonly height: number } = SIZES[1],
    colorScheme: 'light' | 'dark' = 'light',
    url = inspector.url,
  ): Promise<void> {
    context = await browser.newContext({ viewport: size, colorScheme, acceptDownloads: true });
    page = await context.newPage();
    page.on('pageerror', ({ message }) => problems.push(message));
    page.on('console', (message) => {
      // A refused token is reported as a failed request.
      if (message.type() === 'error' && !message.text().includes('401')) {
        problems.push(message.text());
      }
    });
    await page.goto(url);
  }

  function text(selector: string): Promise<string> {
    return page.locator(selector).innerText();
  }

  for (const size of SIZES) {
    for (const scheme of ['light', 'dark'] as const) {
      it(`shows everything and breaks no rule of axe-core at ${size.width} px, ${scheme}`, async () => {
        await open(size, scheme);
        await page.locator('#longest th[scope=row]').first().waitFor();
        await page.locator('#rows .row .link', { hasText: 'stuck' }).waitFor();
        expect(await text('#process')).to.include(`process ${process.pid}`);
        expect(await text('#workqueues')).to.include('softclock');
        expect(await text('#runs')).to.include('stuck');
        expect(await text('#locks')).to.include('journal');
        expect(await text('#locks')).to.include('stuck for');
        expect(await text('#cpus')).to.include('up');
        expect(await text('#longest')).to.include('ticking');
        expect(await violations(page)).to.deep.equal([]);
        const wide = await page.evaluate<number>('document.documentElement.scrollWidth');
        expect(wide).to.be.at.most(size.width);
        const back = await page.evaluate<string>(
          'getComputedStyle(document.documentElement).backgroundColor',
        );
        expect(back).to.equal(scheme === 'light' ? 'rgb(246, 247, 248)' : 'rgb(20, 23, 26)');
      });
    }
  }

  it('takes the token out of the address bar, and keeps it for this tab', async () => {
    await open();
    await page.locator('#views').waitFor();
    expect(page.url()).to.equal(`http://127.0.0.1:${inspector.port}/`);
    await page.reload();
    await page.locator('#rows .row .link').first().waitFor();
    const other = await context.newPage();
    await other.goto(`http://127.0.0.1:${inspector.port}/`);
    await other.locator('#sign-in').waitFor();
    expect(await other.locator('#views').isVisible()).to.equal(false);
  });

  it('asks for the token if it has none or a wrong one', async () => {
    await open(SIZES[0], 'light', `http://127.0.0.1:${inspector.port}/#token=wrong`);
    await page.getByText('The token is wrong.').waitFor();
    expect(await violations(page)).to.deep.equal([]);
    await page.getByLabel('Token').fill(inspector.url);
    await page.keyboard.press('Enter');
    await page.locator('#rows .row .link').first().waitFor();
  });

  it('gives nothing to another page, whatever it tries', async () => {
    const foreign = createServer((_, response) => {
      response.setHeader('content-type', 'text/html');
      response.end('<title>foreign</title>');
    });
    await new Promise<void>((resolve) => {
      foreign.listen(0, '127.0.0.1', resolve);
    });
    try {
      const { port } = foreign.address() as AddressInfo;
      const token = inspector.url.split('=')[1] ?? '';
      await open(SIZES[1], 'light', `http://127.0.0.1:${port}/`);
      const target = `http://127.0.0.1:${inspector.port}`;
      const results = await page.evaluate(`(async () => {
        const attempt = async (path, options) => {
          try {
            const { status, type } = await fetch('${target}' + path, options);
            return type === 'opaque' ? 'opaque' : status;
          } catch {
            return 'failed';
          }
        };
        const load = (url) => new Promise((resolve) => {
          const script = document.createElement('script');
          script.src = url;
          script.onload = () => resolve('loaded');
          script.onerror = () => resolve('failed');
          document.head.append(script);
        });
        return [
          await attempt('/api/sample', { method: 'POST', body: '{}' }),
          await attempt('/api/sample', { method: 'POST', body: '{}', headers: { authorization: 'Bearer ${token}' } }),
          await attempt('/', {}),
          await load('${target}/main.js'),
        ];
      })()`);
      expect(results).to.deep.equal(['failed', 'failed', 'failed', 'failed']);
      page.removeAllListeners('console');
      problems = [];
    } finally {
      foreign.close();
      foreign.closeAllConnections();
    }
  });

  it(`finds one of ${MANY} continuations, with elements for those in view only`, async () => {
    for (let n = 0; n < MANY; n++) {
      new Kcont(kernel.wq.softclock, null, () => undefined, n, {
        name: n === 77_777 ? 'the needle' : `timer ${n % 7}`,
      }).schedule(100_000 + n);
    }
    await open();
    await page.getByText(/^100,\d\d\d continuations$/).waitFor();
    expect(await page.locator('#rows .body .row').count()).to.be.below(60);
    // What is stuck and what waits for it come first.
    const firstRows = await page.locator('#rows .body .row').allInnerTexts();
    expect(firstRows.slice(0, 2).join(' ')).to.include('stuck').and.include('waits');
    await page.locator('#rows .body .link').first().focus();
    await page.keyboard.press('End');
    const focused = (): Promise<string> =>
      page.evaluate<string>(
        "document.activeElement.closest('[role=row]').getAttribute('aria-rowindex')",
      );
    const rowCount = await page.locator('#rows').getAttribute('aria-rowcount');
    expect(await focused()).to.equal(rowCount);
    await page.keyboard.press('ArrowUp');
    expect(Number(await focused())).to.equal(Number(rowCount) - 1);
    await page.getByLabel('Search').fill('needle');
    await page.getByText(/^1 found in/).waitFor();
    await page.locator('#rows .body .link').click();
    expect(await text('#details')).to.include('the needle');
    await page.keyboard.press('Escape');
    expect(await page.locator('#details').isVisible()).to.equal(false);
    await page.getByLabel('Search').fill('');
    await page.locator('#rows').getByRole('button', { name: 'Name' }).click();
    expect(await page.locator('#rows [aria-sort=ascending]').innerText()).to.include('Name');
    expect(
      await page.getByRole('button', { name: 'Late and stuck first' }).getAttribute('aria-pressed'),
    ).to.equal('false');
  });

  it('marks a deadlock, with all names', async () => {
    const debugged = new Kernel({ debug: true });
    using _ = observe({ kernel: debugged, onFinding: () => undefined });
    await using other = await serveInspector({ kernel: debugged });
    const [a, b] = [new Mutex({ name: 'lock a' }), new Mutex({ name: 'lock b' })];
    const both = (first: Mutex, second: Mutex) => async (): Promise<void> => {
      await first.enter();
      await new Promise((resolve) => {
        setTimeout(resolve, 20);
      });
      await second.enter();
    };
    const { prilow } = debugged.wq;
    new Kcont(prilow, null, both(a, b), 0, { name: 'transfer' }).schedule();
    new Kcont(prilow, null, both(b, a), 0, { name: 'audit' }).schedule();
    await open(SIZES[1], 'light', other.url);
    await page.locator('#deadlocks li').waitFor();
    expect(await text('#deadlocks')).to.match(/^deadlock: .*transfer.* waits for lock lock b/);
    expect(await text('#waits')).to.match(/audit #\d+, deadlocked\s+lock lock a/);
    expect(await text('#waits')).to.include('browser.spec');
    expect(await violations(page)).to.deep.equal([]);
    await debugged.close({ graceMs: 0 });
  });

  it('is used with the keyboard: a run of the timeline is selected and shown', async () => {
    await open();
    await page.locator('#longest th[scope=row]').first().waitFor();
    await page.getByRole('button', { name: 'Pause' }).focus();
    await page.keyboard.press('Space');
    await page.locator('#timeline').focus();
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowLeft');
    expect(await text('#selected')).to.match(/ on \w+, CPU 0: /);
    await page.keyboard.press('Enter');
    expect(await text('#details')).to.include('Occupied the event loop');
    expect(await violations(page)).to.deep.equal([]);
    await page.keyboard.press('Escape');
    expect(await page.evaluate<string>('document.activeElement.id')).to.equal('timeline');
  });

  it('shows a run that is clicked, and why it waited', async () => {
    await open();
    await page.locator('#longest .link', { hasText: 'ticking' }).click();
    const details = await text('#details');
    expect(details).to.include('ticking');
    expect(details).to.match(/It did not wait|It was due for/);
  });

  it('stands still while it is paused, and asks for nothing', async () => {
    await open();
    await page.locator('#rows .body .link').first().waitFor();
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.waitForLoadState('networkidle');
    let asked = 0;
    page.on('request', () => asked++);
    const shown = await text('#summary');
    await page.waitForTimeout(2500);
    expect(asked).to.equal(0);
    expect(await text('#summary')).to.equal(shown);
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.waitForRequest(/sample/);
  });

  it('exports what it shows as JSON', async () => {
    await open();
    await page.locator('#longest th[scope=row]').first().waitFor();
    await page.locator('#rows .body .link').first().waitFor();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Export JSON' }).click(),
    ]);
    const exported = JSON.parse(readFileSync(await download.path(), 'utf8')) as {
      sample: { process: { pid: number } };
      continuations: { entries: { name: string }[] };
      runs: { runs: { name: string }[] };
    };
    expect(exported.sample.process.pid).to.equal(process.pid);
    expect(exported.continuations.entries.map(({ name }) => name)).to.include('stuck');
    expect(exported.runs.runs.map(({ name }) => name)).to.include('ticking');
  });

  it('says when the program does not answer', async () => {
    await open();
    await page.locator('#rows .body .link').first().waitFor();
    page.removeAllListeners('console');
    await inspector.close();
    await page.getByText(/^No answer from the program/).waitFor();
    problems = [];
  });
});

/** Gives a kernel something to do: a timer that ticks, and a run that never settles and has a lock. */
function busy(kernel: Kernel): { stop: () => void } {
  const journal = new Mutex({ name: 'journal' });
  const never = (): Promise<void> => new Promise(() => undefined);
  new Kcont(kernel.wq.prilow, journal, never, 0, { name: 'stuck' }).schedule();
  new Kcont(kernel.wq.prihigh, journal, () => undefined, 0, { name: 'waits' }).schedule(5);
  const job = new Kcont(kernel.wq.prihigh, null, () => undefined, 0, { name: 'job' });
  const tick = (_: unknown, kc: Kcont<number>): void => {
    job.schedule();
    kc.reset(20);
  };
  const ticking = new Kcont(kernel.wq.softclock, null, tick, 0, { name: 'ticking' });
  ticking.schedule(20);
  return { stop: () => ticking.destroy() };
}

// Stages are typed from one to the next; sources and sinks by what goes in and comes out.
import { Readable, Writable } from 'node:stream';
import { kernel, Mutex } from 'kcont';
import { pipeline, type Pipeline, type PipelinePlan, type StageContext } from 'kcont/pipeline';

interface Request {
  readonly user: string;
}

const lock = new Mutex();
const plan: PipelinePlan<string, { html: string }> = pipeline<string>('site')
  .stage('parse', (text): Request => ({ user: text }), { wq: 'softnet' })
  .keyBy((request) => request.user, { fair: true, shares: (user) => (user.length > 3 ? 3 : 1) })
  .stage('authenticate', async (request, { signal }: StageContext) => {
    signal.throwIfAborted();
    return request.user;
  })
  .stage('render', (user) => ({ html: user }), {
    wq: kernel.acquire(110, { maxActive: 3, shares: 2 }),
    lock: (user) => (user === '' ? null : lock),
  });

// @ts-expect-error -- the key is a string
plan.keyBy((page) => page.html, { fair: true, shares: (key: number) => key });
// @ts-expect-error -- html is no number
plan.stage('wrong', (page: { html: number }) => page);
// @ts-expect-error -- an asynchronous function on a queue for synchronous ones
plan.stage('wrong', async (page) => page, { wq: 'softclock' });
// @ts-expect-error -- the same, by the workqueue itself
plan.stage('wrong', async (page) => page, { wq: kernel.wq.softclock });
plan.stage('right', (page) => page, { wq: kernel.wq.softclock });

const site: Pipeline<string, { html: string }> = plan.start({
  kernel,
  onError: (_, failure) => void failure.input.toUpperCase(),
});

export async function use(): Promise<string> {
  site.push('a', (error, page) => void [error, page?.html]);
  await site.pump(Readable.from(['a']), new Writable({ objectMode: true }));
  await site.pump(['a'], (page) => void page.html);
  for await (const page of site.through(['a'], { ordered: true })) void page.html;
  const { readable, writable } = site.transform();
  await writable.close();
  void readable;
  site.duplex().end();
  return (await site.run('a', { urgent: true, deadlineMs: 5 })).html;
}

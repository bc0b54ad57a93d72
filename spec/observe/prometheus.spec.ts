import { channel } from 'node:diagnostics_channel';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Registry, register } from 'prom-client';
import { Kcont } from '../../lib/index.ts';
import { collect } from '../../lib/observe/prometheus/index.ts';
import type { Stall } from '../support/observe.ts';
import { Lab } from '../support/lab.ts';

/** The samples that are not 0, of the workqueue prilow. */
async function samples(registry: Registry): Promise<string[]> {
  const text = await registry.metrics();
  return text
    .split('\n')
    .filter(
      (line) => line.includes('"prilow"') && !line.includes('_bucket') && !line.endsWith(' 0'),
    );
}

describe('collect() of kcont/prometheus', () => {
  it('registers metrics by workqueue and name', async () => {
    const lab = new Lab();
    const registry = new Registry();
    const collection = collect({ kernel: lab.kernel, registry, maxNames: 1 });
    for (const name of ['a', 'b', 'c']) {
      const func = (): void => {
        if (name === 'b') throw new Error('failure');
      };
      new Kcont(lab.wq.prilow, null, func, null, { name }).schedule(5);
    }
    lab.clock.tick(10);
    channel('kcont:stall').publish({
      kernel: lab.kernel,
      stall: { workqueue: 'prilow', kind: 'late' } as Stall,
    });
    expect(await samples(registry)).to.have.members([
      'kcont_scheduled_total{workqueue="prilow"} 3',
      'kcont_expired_total{workqueue="prilow"} 3',
      'kcont_entered_total{workqueue="prilow"} 3',
      'kcont_failed_total{workqueue="prilow"} 1',
      'kcont_run_wait_seconds_count{workqueue="prilow",name="a"} 1',
      'kcont_run_wait_seconds_count{workqueue="prilow",name="(other)"} 2',
      'kcont_run_duration_seconds_count{workqueue="prilow",name="a",failed="false"} 1',
      'kcont_run_duration_seconds_count{workqueue="prilow",name="(other)",failed="true"} 1',
      'kcont_run_duration_seconds_count{workqueue="prilow",name="(other)",failed="false"} 1',
      'kcont_stalls_total{workqueue="prilow",kind="late"} 1',
    ]);
    // Scraping again reads the counters, and does not add to them.
    expect(await samples(registry)).to.include('kcont_entered_total{workqueue="prilow"} 3');
    expect(await registry.metrics()).to.include('kcont_cpu_lag_seconds{cpu="0"} 0');
    collection.stop();
    collection.stop();
    expect(await registry.metrics()).to.equal('\n');
  });

  it('has what runs and waits at the moment', async () => {
    const lab = new Lab();
    const registry = new Registry();
    using collection = collect({ kernel: lab.kernel, registry });
    const running = lab.async('a', { wq: lab.wq.prilow });
    running.schedule();
    lab.clock.tick(0);
    lab.sync('b', { wq: lab.wq.prilow }).schedule();
    expect(await samples(registry)).to.include.members([
      'kcont_running{workqueue="prilow"} 1',
      'kcont_queued{workqueue="prilow"} 1',
    ]);
    await lab.end(running);
    expect(collection).to.have.property('stop');
  });

  it('uses the registry of prom-client if none is given, and refuses to register twice', () => {
    const { kernel } = new Lab();
    using collection = collect({ kernel });
    expect(register.getSingleMetric('kcont_queued')).not.to.equal(undefined);
    expect(() => collect({ kernel })).to.throw(/already been registered/);
    collection.stop();
    expect(register.getSingleMetric('kcont_queued')).to.equal(undefined);
  });
});

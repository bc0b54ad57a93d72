import { channel } from 'node:diagnostics_channel';
import { SpanStatusCode, context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { expect } from 'chai';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { Kcont } from '../../lib/index.ts';
import type { Stall } from '../support/observe.ts';
import { instrument, type Instrumentation } from '../../lib/observe/otel/index.ts';
import { propagation as inForce } from '../../lib/observe/propagator.ts';
import { Lab, settled } from '../support/lab.ts';

const exporter = new InMemorySpanExporter();
const tracing = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
const tracer = tracing.getTracer('spec');
/** The finished spans: name, name of the parent, status. */
function spans(): string[] {
  const found = exporter.getFinishedSpans();
  const names = new Map(found.map((span) => [span.spanContext().spanId, span.name]));
  return found.map((span) => {
    const parent = names.get(span.parentSpanContext?.spanId ?? '') ?? 'none';
    return `${span.name} in ${parent}${span.status.code === SpanStatusCode.ERROR ? ', failed' : ''}`;
  });
}

describe('instrument() of kcont/otel', () => {
  let lab = new Lab();
  let instrumentation: Instrumentation;

  before(() => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    trace.setGlobalTracerProvider(tracing);
  });
  after(() => {
    context.disable();
    propagation.disable();
    trace.disable();
  });
  beforeEach(() => {
    exporter.reset();
    lab = new Lab();
    instrumentation = instrument({ kernel: lab.kernel });
  });
  afterEach(() => {
    instrumentation.stop();
  });

  it('makes a span of each run, whose parent is the span in which it was scheduled', async () => {
    const inner = lab.sync('inner', { options: { name: 'inner' } });
    const outer = new Kcont(
      lab.wq.prilow,
      null,
      async () => {
        await Promise.resolve();
        inner.schedule(5);
      },
      null,
      { name: 'outer' },
    );
    tracer.startActiveSpan('request', (span) => {
      outer.schedule();
      span.end();
    });
    await lab.clock.advance(10);
    expect(spans()).to.deep.equal(['request in none', 'outer in request', 'inner in outer']);
  });

  it('makes a span of a job, in whose context the function runs', async () => {
    const job = tracer.startActiveSpan('request', (span) => {
      const run = lab.wq.prilow.run(() => trace.getActiveSpan()?.spanContext().spanId, {
        name: 'job',
      });
      span.end();
      return run;
    });
    await lab.clock.advance(1);
    const [, made] = exporter.getFinishedSpans();
    expect(await job).to.equal(made?.spanContext().spanId);
    expect(spans()).to.deep.equal(['request in none', 'job in request']);
    expect(made?.attributes).to.include({
      'kcont.workqueue.name': 'prilow',
      'kcont.workqueue.priority': 103,
      'kcont.cpu.index': 0,
      'code.function.name': 'job',
      'kcont.run.wait_time': 0,
    });
  });

  it('records errors, thrown or rejected', async () => {
    for (const [name, func] of [
      [
        'thrown',
        () => {
          throw new TypeError('wrong');
        },
      ],
      ['rejected', () => Promise.reject(new TypeError('wrong'))],
      ['other', () => Promise.reject('a string')],
    ] as [string, () => never][]) {
      new Kcont(lab.wq.prilow, null, func, null, { name }).schedule();
      await lab.clock.advance(1);
    }
    expect(spans()).to.deep.equal([
      'thrown in none, failed',
      'rejected in none, failed',
      'other in none, failed',
    ]);
    const found = exporter.getFinishedSpans();
    expect(found.map(({ attributes }) => attributes['error.type'])).to.deep.equal([
      'TypeError',
      'TypeError',
      '_OTHER',
    ]);
    expect(found[0]?.events[0]?.attributes?.['exception.message']).to.equal('wrong');
    expect(lab.reported.slice(0, 2)).to.deep.equal(['wrong', 'wrong']);
  });

  it('can make spans only within spans', () => {
    instrumentation.stop();
    instrumentation = instrument({ kernel: lab.kernel, requireParent: true });
    lab.sync('a').schedule();
    tracer.startActiveSpan('request', (span) => {
      lab.sync('b', { options: { name: 'b' } }).schedule();
      span.end();
    });
    lab.clock.tick(0);
    expect(spans()).to.deep.equal(['request in none', 'b in request']);
  });

  it('takes no part in other kernels, and does nothing after stop', () => {
    const other = new Lab();
    other.sync('a').schedule();
    other.clock.tick(0);
    instrumentation.stop();
    instrumentation.stop();
    lab.sync('a').schedule();
    lab.clock.tick(0);
    expect(spans()).to.deep.equal([]);
    expect(inForce.current).to.equal(null);
  });

  it('sends the context of a span to other threads as a traceparent', () => {
    const { current } = inForce;
    tracer.startActiveSpan('request', (span) => {
      const carrier = current?.inject(current.capture()) as Record<string, string>;
      const { traceId, spanId } = span.spanContext();
      expect(carrier).to.deep.equal({ traceparent: `00-${traceId}-${spanId}-01` });
      const extracted = current?.extract(carrier) as typeof context extends { active(): infer C }
        ? C
        : never;
      expect(trace.getSpanContext(extracted)).to.include({ traceId, spanId, isRemote: true });
    });
    expect(current?.capture()).to.equal(undefined);
    expect(current?.inject(context.active())).to.equal(undefined);
  });

  it('has metrics by workqueue and name, with units', async () => {
    instrumentation.stop();
    const cumulative = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({
      exporter: cumulative,
      exportIntervalMillis: 2 ** 30,
    });
    const metering = new MeterProvider({ readers: [reader] });
    const meter = metering.getMeter('spec');
    instrumentation = instrument({ kernel: lab.kernel, meter, maxNames: 2 });
    for (const name of ['a', 'b', 'c', 'd']) {
      new Kcont(
        lab.wq.prilow,
        null,
        () => {
          if (name === 'b') throw new Error('x');
        },
        null,
        { name },
      ).schedule(5);
    }
    lab.clock.tick(10);
    const stall = { workqueue: 'prihigh', kind: 'late' } as Stall;
    channel('kcont:stall').publish({ kernel: lab.kernel, stall });
    await settled();
    await reader.forceFlush();
    const lines: string[] = [];
    for (const { scopeMetrics } of cumulative.getMetrics()) {
      for (const { descriptor, dataPoints } of scopeMetrics.flatMap((scope) => scope.metrics)) {
        for (const { attributes, value } of dataPoints) {
          const count = typeof value === 'number' ? value : (value as { count: number }).count;
          const labels = ['kcont.workqueue.name', 'kcont.name', 'error.type']
            .map((key) => attributes[key])
            .filter((label) => label !== undefined);
          if (attributes['kcont.workqueue.name'] === 'prilow' && count > 0) {
            lines.push(`${descriptor.name} ${descriptor.unit} ${labels.join(' ')}: ${count}`);
          }
        }
      }
    }
    expect(lines).to.have.members([
      'kcont.workqueue.scheduled {call} prilow: 4',
      'kcont.workqueue.expired {timer} prilow: 4',
      'kcont.workqueue.entered {run} prilow: 4',
      'kcont.workqueue.failed {run} prilow: 1',
      'kcont.run.wait_time s prilow a: 1',
      'kcont.run.wait_time s prilow b: 1',
      'kcont.run.wait_time s prilow (other): 2',
      'kcont.run.duration s prilow a: 1',
      'kcont.run.duration s prilow b _OTHER: 1',
      'kcont.run.duration s prilow (other): 2',
    ]);
    const stalls = cumulative
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
      .find(({ descriptor }) => descriptor.name === 'kcont.stall.count');
    expect(stalls?.dataPoints.map(({ attributes, value }) => [attributes, value])).to.deep.equal([
      [{ 'kcont.workqueue.name': 'prihigh', 'kcont.stall.kind': 'late' }, 1],
    ]);
    instrumentation.stop();
    await metering.shutdown();
  });
});

// The examples under load: checks what their demonstrations show.

import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Program } from '../support/example-program.ts';

describe('examples/gateway', function () {
  this.timeout(120_000);

  it('keeps every guarantee under load and stalls, beside setTimeout, and exits with 0', async () => {
    const outcome = await new Program('gateway', '--devices', '60', '--seconds', '8').ended();
    expect(outcome, outcome.stdout + outcome.stderr).to.include({ code: 0, stderr: '' });
    const { stdout } = outcome;
    expect(stdout).to.match(/^live connections killed by mistake +0 +[\d,]+$/m);
    expect(stdout).to.match(/^dead devices +10 +10$/m);
    expect(stdout).to.match(/^ +never found +0 +\d+$/m);
    expect(stdout).to.match(/^timers or continuations left after close +0 +\d+$/m);
    expect(stdout).to.match(/^ +accepted or acknowledged, but not stored +0 +\d+$/m);
    expect(stdout).to.match(/^PING round trip between stalls, p50 \/ p99 .*ms \/ .*ms/m);
    expect(stdout).to.match(/^server CPU seconds, stalls not counted +\d+\.\d\d +\d+\.\d\d$/m);
    expect(stdout).to.match(/^server heap per connection +[\d.]+ KiB +[\d.]+ KiB$/m);
    expect(stdout).to.match(/kcont kept what it promises\.$/m);
  });
});

describe('examples/thumbnails', function () {
  this.timeout(180_000);

  it('serves interactive requests first under a flood, drops closed connections, exits with 0', async () => {
    const outcome = await new Program('thumbnails', '--seconds', '3').ended();
    const { code, stdout, stderr } = outcome;
    expect(code, stdout + stderr).to.equal(0);
    expect(stderr).to.match(/^flood +[\d.]+ s .* put off/m);
    expect(stdout).to.match(/^ +calm +flood +hang-ups$/m);
    expect(stdout).to.match(/^ {2}p99(?: +[\d.]+ ms){3}$/m);
    expect(stdout).to.match(/^ {2}refused, wrong +0, 0 +0, 0 +0, 0$/m);
    expect(stdout).to.match(/^ {2}put off: 503, Retry-After +0 +[1-9]\d* +0$/m);
    expect(stdout).to.match(/^hung up on +0 +0 +[1-9]\d*$/m);
    expect(stdout).to.match(/^CPU 2: thumbnails, busy(?: +\d+, \d+ %){3}$/m);
    expect(stdout).to.match(/^cancelled: [1-9]\d* were withdrawn before they began/m);
    expect(stdout).to.match(/with 6 of the 6 answered who had asked; unfinished: none$/m);
  });
});

describe('examples/heartbeat', function () {
  this.timeout(60_000);

  it('loses no lease on CPU 1 while the main loop is blocked, unlike setInterval, exits with 0', async () => {
    const outcome = await new Program('heartbeat', '--seconds', '3').ended();
    expect(outcome, outcome.stdout + outcome.stderr).to.include({ code: 0, stderr: '' });
    expect(outcome.stdout).to.match(/^the main loop burns for 1500 ms, 2 of 2$/m);
    expect(outcome.stdout).to.match(/^leases lost +0 +[1-9]\d+$/m);
  });
});

describe('examples/pipeline', function () {
  this.timeout(60_000);

  it('compares three sites under load: correct answers, in order for each user, and a table', async () => {
    const { code, stdout, stderr } = await new Program('pipeline', '--seconds', '3').ended();
    expect(code, stdout + stderr).to.equal(0);
    expect(stderr).to.equal('');
    expect(stdout).to.match(/^site: open, \d+ inside/m);
    expect(stdout).to.match(/^ {2}▼ authenticate +prihigh +\d+ queued +\d+ of 16 running/m);
    expect(stdout).to.match(/^ +kcont\/pipeline +RxJS +streams \+ p-limit$/m);
    expect(stdout).to.match(/^lines of code +\d+ +\d+ +\d+$/m);
    expect(stdout).to.match(/^requests a second +\d+ +\d+ +\d+$/m);
    expect(stdout).to.match(/^operators, p99(?: +[\d.]+ ms| +–){3}$/m);
    expect(stdout).to.match(/^wrong answers +0 +0 +0$/m);
    expect(stdout).to.match(/^out of order for a user +0 +0 +0$/m);
  });
});

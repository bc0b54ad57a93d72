import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const register = new URL('../../../lib/compat/timers/register.js', import.meta.url).href;

/** What an app prints, on Node's timers and on kcont's. */
function runBoth(app: string): Promise<[node: string[], kcont: string[]]> {
  const path = fileURLToPath(new URL(`../../support/${app}.js`, import.meta.url));
  const run = (...flags: string[]): Promise<string[]> =>
    new Promise((resolve) => {
      execFile(process.execPath, [...flags, path], { timeout: 60_000 }, (_, stdout, stderr) =>
        resolve(`${stdout}${stderr}`.split('\n').filter((line) => line !== '')),
      );
    });
  return Promise.all([run(), run('--import', register)]);
}

describe('fastify and ws on kcont/timers/register', function () {
  this.timeout(120_000);

  it('behave as they do on Node’s timers: replies, keep-alive, timeouts, heartbeats, close', async () => {
    const [node, kcont] = await runBoth('framework-app');
    expect(kcont).to.deep.equal(node);
    expect(kcont).to.deep.equal([
      '/hello?name=ann: 200 {"hello":"ann"}',
      `/hello: 400 {"statusCode":400,"code":"FST_ERR_VALIDATION","error":"Bad Request","message":"querystring must have required property 'name'"}`,
      '/later: 200 later',
      '/interval: 200 abc',
      '/nowhere: 404 {"message":"Route GET:/nowhere not found","error":"Not Found","statusCode":404}',
      'handler timeout: 503, in time',
      'kept alive: {"hello":"0"}',
      'kept alive: {"hello":"1"}',
      'keep-alive: closed, in time',
      'half a request: HTTP/1.1 408 Request Timeout, in time',
      'a client that does not answer a ping: closed with 1006, in time',
      'a client that does, after some pings: true true',
      'its echo: echo still there',
      'a client that does not close: closed, in time',
      'a server that does not shake hands: Opening handshake has timed out, in time',
      'a plugin that does not load: FST_ERR_PLUGIN_TIMEOUT, in time',
      'closed, clients left: 0',
      'exit: 0',
    ]);
  });
});

describe('express on kcont/timers/register', function () {
  this.timeout(120_000);

  it('behaves as it does on Node’s timers: replies, errors, time limits, keep-alive, close', async () => {
    const [node, kcont] = await runBoth('express-app');
    expect(kcont).to.deep.equal(node);
    expect(kcont).to.deep.equal([
      '/hello/ann: 200 {"hello":"ann"}',
      '/later: 200 later',
      '/soon: 200 soon',
      '/interval: 200 abc',
      '/rejects: 500 {"error":"RangeError"}',
      '/throws: 500 {"error":"RangeError"}',
      '/none: 404 <!DOCTYPE html> <html lang="en"> <head> <meta charset="utf-8"> <title>Error</title> </head> <body> <pre>Cannot GET /none</pre> </body> </html> ',
      'echo of 7 bytes: 200 {"a":1}',
      'echo of 5 bytes: 400 {"error":"SyntaxError"}',
      'echo of 202 bytes: 413 {"error":"PayloadTooLargeError"}',
      'a handler that does not answer: 503 too slow, in time',
      'twenty at once: 1',
      'a client that goes away: its timer is cleared, in time',
      'kept alive: {"hello":"ann"}',
      'kept alive: {"hello":"bob"}',
      'keep-alive: closed, in time',
      'exit: 0',
    ]);
  });
});

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const register = new URL('../../lib/fronts/timers-register.js', import.meta.url).href;
const app = fileURLToPath(new URL('../support/framework-app.js', import.meta.url));

function run(...flags: string[]): Promise<string[]> {
  return new Promise((resolve) => {
    execFile(process.execPath, [...flags, app], { timeout: 60_000 }, (_, stdout, stderr) =>
      resolve(`${stdout}${stderr}`.split('\n').filter((line) => line !== '')),
    );
  });
}

describe('fastify and ws on kcont/timers/register', function () {
  this.timeout(120_000);

  it('behave as they do on Node’s timers: replies, keep-alive, timeouts, heartbeats, close', async () => {
    const [node, kcont] = await Promise.all([run(), run('--import', register)]);
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

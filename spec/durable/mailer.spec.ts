import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Program } from '../support/example-program.ts';
import { dropSchema, needsDatabase, newSchema, withClient } from '../support/database.ts';

describe('examples/mailer', function () {
  this.timeout(60_000);

  it('needs nothing: it keeps reminders in memory, and says what is lost with it', async () => {
    const url = process.env['DATABASE_URL'];
    delete process.env['DATABASE_URL'];
    const program = new Program('mailer');
    if (url !== undefined) process.env['DATABASE_URL'] = url;
    const [, origin] = await program.printed(/^(http:\S+)\/ID, in memory/m);
    const call = async (id: string, method: string, body?: string): Promise<unknown> => {
      const response = await fetch(`${origin}/${id}`, {
        method,
        ...(body === undefined ? {} : { body }),
      });
      return { status: response.status, ...((await response.json()) as object) };
    };
    const reminder = (inMs: unknown): string => JSON.stringify({ to: 'ann', text: 'tea', inMs });
    expect(await call('tea', 'POST', reminder(1e6))).to.deep.equal({
      status: 200,
      scheduled: true,
    });
    expect(await call('tea', 'GET')).to.include({ pending: true, running: false, failed: 0 });
    expect(await call('tea', 'DELETE')).to.include({ withdrawn: true, running: false });
    expect(await call('tea', 'POST', reminder('soon'))).to.include({ status: 400 });
    expect(await call('tea', 'POST', reminder(-1))).to.include({ status: 400 });
    expect(await call('tea', 'POST', '{')).to.include({ status: 400 });
    expect(await call('a b', 'GET')).to.include({ status: 404 });
    await call('kept', 'POST', reminder(1e6));
    program.signal('SIGTERM');
    const { code, stdout, stderr } = await program.ended();
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(stdout).to.match(/^lost with this process: 1; unfinished: 0$/m);
  });

  for (const [args, message] of [
    ['--port x', /--port must be a whole number from 0 to 65535, got x/],
    ['--nodes 2', /Unknown option '--nodes'/],
    ['--schema A', /--schema must be up to 40 small letters, digits and _, got A/],
  ] as const) {
    it(`refuses ${args}, and prints the usage`, async () => {
      const { code, stderr } = await new Program('mailer', ...args.split(' ')).ended();
      expect(code).to.equal(2);
      expect(stderr)
        .to.match(message)
        .and.to.match(/^Usage: npm start/m);
    });
  }
});

describe('the demonstration of examples/mailer', function () {
  this.timeout(60_000);
  needsDatabase(this);

  it('loses no reminder when a process is killed, and sends none by two holders', async () => {
    const { code, stdout, stderr } = await new Program('mailer', '--demo').ended();
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(stdout).to.match(/^sent: 120; lost: 0; sent by two holders: 0$/m);
    const { rows } = await withClient((client) =>
      client.query("select nspname from pg_namespace where nspname like 'mailer\\_demo\\_%'"),
    );
    expect(rows).to.deep.equal([]);
  });

  it('sends reminders that were scheduled before its process was killed', async () => {
    const schema = newSchema();
    const reminder = JSON.stringify({ to: 'ann', text: 'tea', inMs: 1000 });
    try {
      const first = new Program('mailer', '--schema', schema);
      const [, origin] = await first.printed(/^(http:\S+)\/ID, durable/m);
      const { status } = await fetch(`${origin}/tea`, { method: 'POST', body: reminder });
      expect(status).to.equal(200);
      first.signal('SIGKILL');
      await first.ended();
      const second = new Program('mailer', '--schema', schema);
      await second.printed(/durable/);
      const sent = `select event from ${schema}.outbox order by seq`;
      const events = async (): Promise<unknown[]> =>
        (await withClient((client) => client.query<{ event: string }>(sent))).rows.map(
          ({ event }) => event,
        );
      while ((await events()).length < 2) await sleep(20);
      expect(await events()).to.deep.equal(['sending', 'sent']);
      second.signal('SIGTERM');
      expect(await second.ended()).to.include({ code: 0, stderr: '' });
    } finally {
      await dropSchema(schema);
    }
  });
});

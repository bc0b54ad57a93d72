// The reminders: a durable function that sends one, and where it notes what it has sent.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Durable, DurableKcont, Invocation } from '../../lib/durable/index.ts';

/** What a reminder says. */
export interface Reminder {
  readonly to: string;
  readonly text: string;
}

/** A line of the outbox. */
export interface Sent {
  readonly id: string;
  readonly to: string;
  readonly node: string;
  readonly event: 'sending' | 'sent';
}

/** How long a mail server takes, in ms. */
const SENDING_MS = 100;

/** The statement that creates the table of the outbox. */
export const OUTBOX = `create table if not exists mailer_outbox (
  seq bigserial primary key, id text not null, recipient text not null, node text not null, event text not null)`;
const NOTE = 'insert into mailer_outbox (id, recipient, node, event) values ($1, $2, $3, $4)';

/** Sends reminders, one at a time for each recipient in the whole cluster. */
export class Reminders {
  /** The outbox of a process without a database. */
  readonly outbox: Sent[] = [];
  readonly #jobs: Durable;

  constructor(jobs: Durable) {
    this.#jobs = jobs;
    jobs.define<Reminder>(
      'remind',
      { wq: 'primedlow', maxAttempts: 5, backoff: { baseMs: 200 } },
      (reminder, invocation) => this.#send(reminder, invocation),
    );
  }

  /** The handle of a reminder. */
  of(id: string, reminder: Reminder): DurableKcont<Reminder> {
    return this.#jobs.kcont(id, 'remind', reminder, { lock: `to:${reminder.to}` });
  }

  async #send({ to }: Reminder, invocation: Invocation): Promise<void> {
    await this.#note(
      { id: invocation.id, to, node: invocation.node, event: 'sending' },
      invocation,
    );
    await sleep(SENDING_MS, undefined, { signal: invocation.signal });
    await this.#note({ id: invocation.id, to, node: invocation.node, event: 'sent' }, invocation);
  }

  /** With a database, a process that has lost the reminder cannot note anything any more. */
  async #note(line: Sent, invocation: Invocation): Promise<void> {
    if (!this.#jobs.caps.transactions) this.outbox.push(line);
    else await invocation.client.query(NOTE, [line.id, line.to, line.node, line.event]);
  }
}

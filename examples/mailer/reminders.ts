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
export function outboxOf(schema: string): string {
  return `create table if not exists ${schema}.outbox (
    seq bigserial primary key, id text not null, recipient text not null, node text not null, event text not null)`;
}

/** Sends reminders, one at a time for each recipient in the whole cluster. */
export class Reminders {
  /** The outbox of a process without a database. */
  readonly outbox: Sent[] = [];
  readonly #jobs: Durable;
  readonly #note: string;

  constructor(jobs: Durable, schema: string) {
    this.#jobs = jobs;
    this.#note = `insert into ${schema}.outbox (id, recipient, node, event) values ($1, $2, $3, $4)`;
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
    await this.#write(invocation, to, 'sending');
    await sleep(SENDING_MS, undefined, { signal: invocation.signal });
    await this.#write(invocation, to, 'sent');
  }

  /** With a database, a process that has lost the reminder cannot write anything any more. */
  async #write(invocation: Invocation, to: string, event: Sent['event']): Promise<void> {
    const { id, node } = invocation;
    if (!this.#jobs.caps.transactions) this.outbox.push({ id, to, node, event });
    else await invocation.client.query(this.#note, [id, to, node, event]);
  }
}

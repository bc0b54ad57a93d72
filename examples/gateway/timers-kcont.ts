/*
 * The gateway's timing with kcont. Each timed action is one continuation, created once with its
 * connection and scheduled many times:
 *
 *   softnet   handshake  ──HELLO──▶ stopped
 *             idle       ──packet──▶ touch() ──packet──▶ touch() … or leave('idle')
 *             heartbeat  ──▶ PING, schedules pong and itself
 *             pong       ──PONG──▶ stopped … or leave('pong')
 *             ack        ──▶ one ACK for all the readings since
 *   prihigh   command    ──▶ CMD, and again later each time; ACK──▶ stopped
 *             goodbye    ──▶ waits for the disk, BYE, hang up      (async, holds the lock meanwhile)
 *   softclock closing    ──▶ the end by force                      (no lock: see below)
 *   prilow    history    ──▶ one write for all the readings since  (async; one for the gateway)
 *
 * There are no flags. The continuation knows whether it is armed, queued or running; stop() guarantees
 * that it does not run late; the scope guarantees that no continuation is left.
 */
import { Kcont, Mutex, Scope, kernel, wq } from '../../lib/index.ts';
import type { Lock, Workqueue } from '../../lib/index.ts';
import type { History } from './history.ts';
import type { Leftovers, ConnectionTimers, TimersFactory } from './timers.ts';
import type { Session } from './session.ts';

/** The timers of one connection. */
class KcontConnectionTimers implements ConnectionTimers {
  readonly #session: Session;
  readonly #scope = new Scope();
  readonly #handshake: Kcont<KcontConnectionTimers>;
  readonly #idle: Kcont<KcontConnectionTimers>;
  readonly #heartbeat: Kcont<KcontConnectionTimers>;
  readonly #pong: Kcont<KcontConnectionTimers>;
  readonly #ack: Kcont<KcontConnectionTimers>;
  readonly #command: Kcont<KcontConnectionTimers>;
  readonly #goodbye: Kcont<KcontConnectionTimers>;
  readonly #closing: Kcont<KcontConnectionTimers>;

  constructor(session: Session) {
    this.#session = session;
    const lock = new Mutex();
    this.#handshake = this.#make('handshake', wq.softnet, lock, KcontConnectionTimers.#noHello);
    this.#idle = this.#make('idle', wq.softnet, lock, KcontConnectionTimers.#nothingHeard);
    this.#heartbeat = this.#make('heartbeat', wq.softnet, lock, KcontConnectionTimers.#beat);
    this.#pong = this.#make('pong', wq.softnet, lock, KcontConnectionTimers.#noPong);
    this.#ack = this.#make('ack', wq.softnet, lock, KcontConnectionTimers.#sendAck);
    this.#command = this.#make('command', wq.prihigh, lock, KcontConnectionTimers.#sendCommand);
    this.#goodbye = this.#make('goodbye', wq.prihigh, lock, KcontConnectionTimers.#sayGoodbye);
    // It limits the time of work under the lock, so it must not wait for the lock itself.
    this.#closing = this.#make('closing', wq.softclock, null, KcontConnectionTimers.#destroy);
  }

  connected(): void {
    this.#handshake.schedule(this.#session.timing.handshakeMs);
  }

  opened(): void {
    this.#handshake.stop();
    this.#idle.schedule(this.#session.timing.idleMs);
    this.#heartbeat.schedule(this.#session.timing.heartbeatMs);
  }

  onPacket(): void {
    // It is nearly always pending, and touch() is one store. Otherwise it has expired and is queued but
    // not entered. This packet is still in time, so reset() withdraws it and restarts the delay.
    if (!this.#idle.touch()) this.#idle.reset(this.#session.timing.idleMs);
  }

  ponged(): void {
    this.#pong.stop();
  }

  dataCame(unacked: number): void {
    const { ackMs, ackBatch } = this.#session.timing;
    if (unacked >= ackBatch) this.#ack.schedule(0);
    else if (!this.#ack.busy) this.#ack.schedule(ackMs);
  }

  commandReady(): void {
    // reset, not schedule: an ACK may arrive when the next copy is already queued.
    this.#command.reset(0);
  }

  commandsDone(): void {
    this.#command.stop();
  }

  leaving(): void {
    this.#scope.stop(); // nothing that was due runs any more, even if it is queued
    this.#goodbye.schedule(0);
    this.#closing.schedule(this.#session.timing.closeMs);
  }

  closed(): void {
    this.#scope[Symbol.dispose]();
  }

  /** Creates a continuation. All connections share the function; the argument is this object. */
  #make(
    name: string,
    queue: Workqueue,
    lock: Lock | null,
    func: (
      timers: KcontConnectionTimers,
      kc: Kcont<KcontConnectionTimers>,
    ) => void | PromiseLike<void>,
  ): Kcont<KcontConnectionTimers> {
    return new Kcont(queue, lock, func, this, { name, scope: this.#scope });
  }

  static #noHello(this: void, timers: KcontConnectionTimers): void {
    timers.#session.leave('handshake');
  }

  static #nothingHeard(this: void, timers: KcontConnectionTimers): void {
    timers.#session.leave('idle');
  }

  static #noPong(this: void, timers: KcontConnectionTimers): void {
    timers.#session.leave('pong');
  }

  static #beat(this: void, timers: KcontConnectionTimers, kc: Kcont<KcontConnectionTimers>): void {
    timers.#session.sendPing();
    timers.#pong.schedule(timers.#session.timing.pongMs);
    kc.reset(timers.#session.timing.heartbeatMs);
  }

  static #sendAck(this: void, timers: KcontConnectionTimers): void {
    timers.#session.sendAck();
  }

  static #sendCommand(
    this: void,
    timers: KcontConnectionTimers,
    kc: Kcont<KcontConnectionTimers>,
  ): void {
    const againMs = timers.#session.sendCommand();
    if (againMs >= 0) kc.reset(againMs);
  }

  static #sayGoodbye(this: void, timers: KcontConnectionTimers): Promise<void> {
    return timers.#session.goodbye();
  }

  static #destroy(this: void, timers: KcontConnectionTimers): void {
    timers.#session.destroy();
  }
}

/** Creates the timers of a gateway on the process-wide kernel. */
export class KcontTimersFactory implements TimersFactory {
  create(session: Session): ConnectionTimers {
    return new KcontConnectionTimers(session);
  }

  historian(history: History): (now: boolean) => void {
    const write = (h: History, kc: Kcont<History>): Promise<void> => {
      // From here on, schedule() applies to the next batch, which is not entered before this one is
      // written: a continuation never overlaps itself.
      kc.ack();
      return h.writeBatch();
    };
    const writer = new Kcont(wq.prilow, null, write, history, { name: 'history' });
    return (now) => {
      if (now) writer.schedule(0);
      else if (!writer.pending && !writer.invoking) writer.schedule(history.batchMs);
    };
  }

  once(delayMs: number, func: () => void): void {
    new Kcont(wq.softnet, null, func, undefined, { name: 'once' }).schedule(delayMs);
  }

  async close(graceMs: number): Promise<Leftovers> {
    const report = await kernel.close({ graceMs });
    return {
      waiting: report.withdrawn,
      unfinished: report.unfinished.map((one) => `${one.name} (${one.state})`),
    };
  }
}

/*
 * The same timing with Node's setTimeout, clearTimeout, refresh and setImmediate, and a flag where a
 * timer does not know its own state. It is written with the same care as timers-kcont.ts: idle timers
 * are refreshed instead of recreated, callbacks take arguments instead of being closures, every handle
 * is cleared on both paths of closing, and a callback that runs late finds a flag that stops it.
 */
import type { History } from './history.ts';
import type { Leftovers, ConnectionTimers, TimersFactory } from './timers.ts';
import type { Session } from './session.ts';

/** The timers of one connection. */
class TimeoutConnectionTimers implements ConnectionTimers {
  readonly #session: Session;
  #handshake: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #pong: NodeJS.Timeout | undefined;
  #ack: NodeJS.Timeout | undefined;
  #ackNow: NodeJS.Immediate | undefined;
  #command: NodeJS.Timeout | undefined;
  #commandNow: NodeJS.Immediate | undefined;
  #closing: NodeJS.Timeout | undefined;
  #left = false;

  constructor(session: Session) {
    this.#session = session;
  }

  connected(): void {
    this.#handshake = setTimeout(
      TimeoutConnectionTimers.#noHello,
      this.#session.timing.handshakeMs,
      this.#session,
    );
  }

  opened(): void {
    const { idleMs, heartbeatMs } = this.#session.timing;
    clearTimeout(this.#handshake);
    this.#idle = setTimeout(TimeoutConnectionTimers.#nothingHeard, idleMs, this.#session);
    this.#heartbeat = setTimeout(TimeoutConnectionTimers.#beat, heartbeatMs, this);
  }

  onPacket(): void {
    this.#idle?.refresh();
  }

  ponged(): void {
    clearTimeout(this.#pong);
  }

  dataCame(unacked: number): void {
    const { ackMs, ackBatch } = this.#session.timing;
    if (unacked >= ackBatch) {
      this.#ackNow ??= setImmediate(TimeoutConnectionTimers.#sendAck, this);
    } else if (this.#ackNow === undefined && this.#ack === undefined) {
      this.#ack = setTimeout(TimeoutConnectionTimers.#sendAck, ackMs, this);
    }
  }

  commandReady(): void {
    clearTimeout(this.#command);
    this.#commandNow ??= setImmediate(TimeoutConnectionTimers.#sendCommand, this);
  }

  commandsDone(): void {
    clearTimeout(this.#command);
    clearImmediate(this.#commandNow);
    this.#commandNow = undefined;
  }

  leaving(): void {
    this.#stopAll();
    void this.#session.goodbye();
    this.#closing = setTimeout(
      TimeoutConnectionTimers.#destroy,
      this.#session.timing.closeMs,
      this.#session,
    );
  }

  closed(): void {
    this.#stopAll();
    clearTimeout(this.#closing);
  }

  #stopAll(): void {
    this.#left = true;
    clearTimeout(this.#handshake);
    clearTimeout(this.#idle);
    clearTimeout(this.#heartbeat);
    clearTimeout(this.#pong);
    clearTimeout(this.#ack);
    clearImmediate(this.#ackNow);
    clearTimeout(this.#command);
    clearImmediate(this.#commandNow);
  }

  static #noHello(this: void, session: Session): void {
    session.leave('handshake');
  }

  static #nothingHeard(this: void, session: Session): void {
    session.leave('idle');
  }

  static #noPong(this: void, session: Session): void {
    session.leave('pong');
  }

  static #beat(this: void, timers: TimeoutConnectionTimers): void {
    if (timers.#left) return;
    timers.#session.sendPing();
    clearTimeout(timers.#pong);
    timers.#pong = setTimeout(
      TimeoutConnectionTimers.#noPong,
      timers.#session.timing.pongMs,
      timers.#session,
    );
    timers.#heartbeat?.refresh();
  }

  static #sendAck(this: void, timers: TimeoutConnectionTimers): void {
    clearTimeout(timers.#ack);
    clearImmediate(timers.#ackNow);
    timers.#ack = undefined;
    timers.#ackNow = undefined;
    if (!timers.#left) timers.#session.sendAck();
  }

  static #sendCommand(this: void, timers: TimeoutConnectionTimers): void {
    timers.#commandNow = undefined;
    if (timers.#left) return;
    const againMs = timers.#session.sendCommand();
    if (againMs >= 0)
      timers.#command = setTimeout(TimeoutConnectionTimers.#sendCommand, againMs, timers);
  }

  static #destroy(this: void, session: Session): void {
    session.destroy();
  }
}

/** Creates the timers of a gateway. */
export class TimeoutTimersFactory implements TimersFactory {
  create(session: Session): ConnectionTimers {
    return new TimeoutConnectionTimers(session);
  }

  historian(history: History): (now: boolean) => void {
    let timer: NodeJS.Timeout | undefined;
    let immediate: NodeJS.Immediate | undefined;
    let writing = false;
    let hurry = false;
    const wake = (now: boolean): void => {
      hurry ||= now;
      if (writing) return;
      if (hurry) immediate ??= setImmediate(write);
      else timer ??= setTimeout(write, history.batchMs);
    };
    const write = (): void => {
      clearTimeout(timer);
      clearImmediate(immediate);
      timer = undefined;
      immediate = undefined;
      hurry = false;
      writing = true;
      void history.writeBatch().finally(() => {
        writing = false;
        if (history.waiting > 0) wake(false);
      });
    };
    return wake;
  }

  once(delayMs: number, func: () => void): void {
    setTimeout(func, delayMs);
  }

  /** Reports nothing, because Node keeps no list of timers. */
  close(): Promise<Leftovers> {
    return Promise.resolve({ waiting: [], unfinished: [] });
  }
}

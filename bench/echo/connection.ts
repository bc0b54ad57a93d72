// A connection of the echo server, and the ways to keep its three timers: idle, touched by each
// message that comes; heartbeat, touched by each that goes; delayed ack, armed by what comes and
// stopped by what goes.

import type { Socket } from 'node:net';
import { Kcont, wq } from '../../lib/index.ts';
import {
  ACK,
  ACK_MS,
  ECHO,
  HEARTBEAT_MS,
  IDLE_MS,
  MESSAGE_BYTES,
  PING,
  type Counts,
  type Kind,
} from './protocol.ts';

const ackBytes = Buffer.from([ACK]);
const pingBytes = Buffer.from([PING]);

export const counts: Counts = { messages: 0, echoes: 0, acks: 0, idle: 0, heartbeats: 0 };

export abstract class Connection {
  readonly socket: Socket;
  /** Bytes of the message under way that are still to come. */
  #missing = 0;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  receive(chunk: Buffer): void {
    this.touchIdle();
    let wantsEcho = false;
    let at = this.#missing;
    for (; at < chunk.length; at += MESSAGE_BYTES) {
      counts.messages++;
      if (chunk[at] === ECHO) {
        counts.echoes++;
        wantsEcho = true;
      }
    }
    this.#missing = at - chunk.length;
    this.armAck(wantsEcho);
    if (wantsEcho) this.send(chunk);
  }

  send(bytes: Buffer): void {
    this.stopAck();
    this.touchHeartbeat();
    this.socket.write(bytes);
  }

  static ackDue(this: void, conn: Connection): void {
    counts.acks++;
    conn.send(ackBytes);
  }

  static heartbeatDue(this: void, conn: Connection): void {
    counts.heartbeats++;
    conn.send(pingBytes);
  }

  static idleDue(this: void, conn: Connection): void {
    counts.idle++;
    conn.socket.destroy();
  }

  abstract touchIdle(): void;
  abstract touchHeartbeat(): void;
  /** A protocol does not know what its user will do: it arms, also if an echo follows at once. */
  abstract armAck(echoFollows: boolean): void;
  abstract stopAck(): void;
  abstract close(): void;
}

class OnKcont extends Connection {
  readonly #idle: Kcont<Connection>;
  readonly #heartbeat: Kcont<Connection>;
  readonly #ack: Kcont<Connection>;

  constructor(socket: Socket) {
    super(socket);
    this.#idle = new Kcont<Connection>(wq.softclock, null, Connection.idleDue, this);
    this.#heartbeat = new Kcont<Connection>(wq.softclock, null, Connection.heartbeatDue, this);
    this.#ack = new Kcont<Connection>(wq.softclock, null, Connection.ackDue, this);
    this.#idle.schedule(IDLE_MS);
    this.#heartbeat.schedule(HEARTBEAT_MS);
  }

  touchIdle(): void {
    this.#idle.touch();
  }

  touchHeartbeat(): void {
    this.#heartbeat.touch();
  }

  armAck(): void {
    if (!this.#ack.pending) this.#ack.schedule(ACK_MS);
  }

  stopAck(): void {
    this.#ack.stop();
  }

  close(): void {
    this.#idle.destroy();
    this.#heartbeat.destroy();
    this.#ack.destroy();
  }
}

/** As Node's own HTTP server does it: `refresh` wherever a timer may be kept. */
class OnRefresh extends Connection {
  readonly #idle: NodeJS.Timeout;
  readonly #heartbeat: NodeJS.Timeout;
  #ack: NodeJS.Timeout | undefined = undefined;

  constructor(socket: Socket) {
    super(socket);
    this.#idle = setTimeout(Connection.idleDue, IDLE_MS, this);
    this.#heartbeat = setTimeout(Connection.heartbeatDue, HEARTBEAT_MS, this);
  }

  touchIdle(): void {
    this.#idle.refresh();
  }

  touchHeartbeat(): void {
    this.#heartbeat.refresh();
  }

  armAck(): void {
    this.#ack ??= setTimeout(Connection.ackDue, ACK_MS, this);
  }

  stopAck(): void {
    clearTimeout(this.#ack);
    this.#ack = undefined;
  }

  close(): void {
    clearTimeout(this.#idle);
    clearTimeout(this.#heartbeat);
    clearTimeout(this.#ack);
  }
}

/** A new timer each time, as most programs do it. */
class OnClearSet extends Connection {
  #idle: NodeJS.Timeout;
  #heartbeat: NodeJS.Timeout;
  #ack: NodeJS.Timeout | undefined = undefined;

  constructor(socket: Socket) {
    super(socket);
    this.#idle = setTimeout(Connection.idleDue, IDLE_MS, this);
    this.#heartbeat = setTimeout(Connection.heartbeatDue, HEARTBEAT_MS, this);
  }

  touchIdle(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(Connection.idleDue, IDLE_MS, this);
  }

  touchHeartbeat(): void {
    clearTimeout(this.#heartbeat);
    this.#heartbeat = setTimeout(Connection.heartbeatDue, HEARTBEAT_MS, this);
  }

  armAck(): void {
    this.#ack ??= setTimeout(Connection.ackDue, ACK_MS, this);
  }

  stopAck(): void {
    clearTimeout(this.#ack);
    this.#ack = undefined;
  }

  close(): void {
    clearTimeout(this.#idle);
    clearTimeout(this.#heartbeat);
    clearTimeout(this.#ack);
  }
}

/** None: what the sockets cost alone. Acknowledges at once, so that it sends as many bytes. */
class WithoutTimers extends Connection {
  touchIdle(): void {}
  touchHeartbeat(): void {}
  armAck(echoFollows: boolean): void {
    if (!echoFollows) Connection.ackDue(this);
  }
  stopAck(): void {}
  close(): void {}
}

export const kinds: Readonly<Record<Kind, new (socket: Socket) => Connection>> = {
  kcont: OnKcont,
  refresh: OnRefresh,
  'clear-set': OnClearSet,
  none: WithoutTimers,
};

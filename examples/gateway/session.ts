import type { Socket } from 'node:net';
import type { History } from './history.ts';
import type { ConnectionTimers, TimersFactory, Timing } from './timers.ts';
import { LineReader, parse } from './protocol.ts';

/** Why the gateway closes the connection to a device. */
export type Reason = 'bye' | 'handshake' | 'idle' | 'pong' | 'shutdown';

/** Counters of a gateway since its start. */
export interface Counters {
  connections: number;
  packets: number;
  malformed: number;
  commands: number;
  resent: number;
  givenUp: number;
  cutByForce: number;
  readonly left: Record<Reason, number>;
}

/** The parts of the gateway that a session uses. */
export interface SessionContext {
  readonly timing: Timing;
  readonly timersFactory: TimersFactory;
  readonly history: History;
  readonly counters: Counters;
}

/** Number of readings after which the gateway sends the device a command. */
const READINGS_PER_COMMAND = 16;

/** The protocol on one connection. Its ConnectionTimers decide when things happen. */
export class Session {
  readonly socket: Socket;
  readonly timing: Timing;
  id = '';

  readonly #context: SessionContext;
  readonly #timers: ConnectionTimers;
  readonly #lines: LineReader;
  readonly #commands: number[] = [];
  #state: 'new' | 'open' | 'leaving' | 'closed' = 'new';
  #reason: Reason = 'bye';
  #lastSeq = -1;
  #unacked = 0;
  #pings = 0;
  #commandCount = 0;
  #sends = 0;

  constructor(socket: Socket, context: SessionContext) {
    this.socket = socket;
    this.timing = context.timing;
    this.#context = context;
    this.#timers = context.timersFactory.create(this);
    this.#lines = new LineReader(
      (line) => this.#take(line),
      () => this.#reject('line too long'),
    );
    socket.setEncoding('latin1').setNoDelay(true);
    socket.on('data', (piece: string) => this.#lines.push(piece));
    socket.on('end', () => this.#hungUp());
    socket.on('error', () => {}); // 'close' follows, and is handled below
    socket.on('close', () => {
      this.#state = 'closed';
      this.#timers.closed();
    });
    this.#send('READY');
    this.#timers.connected();
  }

  /** Whether HELLO has arrived and neither side has sent BYE. */
  get open(): boolean {
    return this.#state === 'open';
  }

  // Called by ConnectionTimers.

  sendPing(): void {
    this.#pings += 1;
    this.#send(`PING ${this.#pings}`);
  }

  sendAck(): void {
    if (this.#unacked === 0) return;
    this.#unacked = 0;
    this.#send(`ACK ${this.#lastSeq}`);
  }

  /**
   * Sends the first waiting command, again or for the first time.
   * @returns how long to wait for its ACK before the next call, in ms; -1 if there is nothing to send
   */
  sendCommand(): number {
    const { counters } = this.#context;
    if (this.#sends === this.timing.sendLimit) {
      counters.givenUp += 1;
      this.#dropCommand();
    }
    const number = this.#commands[0];
    if (number === undefined) return -1;
    if (this.#sends === 0) counters.commands += 1;
    else counters.resent += 1;
    this.#send(`CMD ${number} calibrate`);
    this.#sends += 1;
    return this.timing.resendMs * 2 ** (this.#sends - 1);
  }

  /** Begins to close the connection gracefully, see `goodbye`. Does nothing if that has begun. */
  leave(reason: Reason): void {
    if (this.#state === 'leaving' || this.#state === 'closed') return;
    this.#state = 'leaving';
    this.#reason = reason;
    this.#context.counters.left[reason] += 1;
    this.#timers.leaving();
  }

  /** Acknowledges the readings once they are on disk, sends BYE, and ends the connection. */
  async goodbye(): Promise<void> {
    await this.#context.history.flushed();
    this.sendAck();
    this.#send(`BYE ${this.#reason}`);
    this.socket.end();
  }

  /** Destroys the connection without sending anything. */
  destroy(): void {
    this.#context.counters.cutByForce += 1;
    this.socket.destroy();
  }

  // Packets from the device.

  #take(line: string): void {
    if (this.#state === 'leaving' || this.#state === 'closed') return;
    this.#context.counters.packets += 1;
    if (this.#state === 'open') this.#timers.onPacket();
    const packet = parse(line);
    if (packet.kind === 'malformed') return this.#reject(packet.reason);
    if (packet.kind === 'BYE') return this.leave('bye');
    if (packet.kind === 'PING') return this.#send(`PONG ${packet.token}`.trimEnd());
    if (packet.kind === 'HELLO') return this.#hello(packet.id);
    if (this.#state === 'new') return this.#reject('expected HELLO <id> first');
    if (packet.kind === 'DATA') return this.#data(packet.seq, packet.text);
    if (packet.kind === 'PONG') return this.#pong(packet.number);
    return this.#commandAcked(packet.number);
  }

  #hello(id: string): void {
    if (this.#state !== 'new') return this.#reject(`this is ${this.id} already`);
    this.id = id;
    this.#state = 'open';
    this.#send(`WELCOME ${id}`);
    this.#timers.opened();
    this.#command();
  }

  #data(seq: number, text: string): void {
    this.#unacked += 1; // a duplicate is acknowledged again, but stored once
    if (seq > this.#lastSeq) {
      this.#lastSeq = seq;
      this.#context.history.add(this.id, seq, text);
    }
    this.#timers.dataCame(this.#unacked);
    if (seq % READINGS_PER_COMMAND === READINGS_PER_COMMAND - 1) this.#command();
  }

  #pong(number: number): void {
    if (number === this.#pings) this.#timers.ponged(); // the answer to an older PING is ignored
  }

  #command(): void {
    this.#commandCount += 1;
    this.#commands.push(this.#commandCount);
    if (this.#commands.length === 1) this.#timers.commandReady();
  }

  #commandAcked(number: number): void {
    if (number !== this.#commands[0]) return; // the ACK of a duplicate
    this.#dropCommand();
    if (this.#commands.length > 0) this.#timers.commandReady();
    else this.#timers.commandsDone();
  }

  #dropCommand(): void {
    this.#commands.shift();
    this.#sends = 0;
  }

  #reject(reason: string): void {
    this.#context.counters.malformed += 1;
    this.#send(`ERR ${reason}`);
  }

  /** Called when the device has closed its side, possibly without BYE. */
  #hungUp(): void {
    this.leave('bye');
  }

  #send(line: string): void {
    if (this.socket.writable) this.socket.write(`${line}\n`, 'latin1');
  }
}

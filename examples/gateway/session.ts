import type { Socket } from 'node:net';
import type { History } from './history.ts';
import type { ConnectionTimers, TimersFactory, Timing } from './timers.ts';
import { LineReader, parse } from './protocol.ts';

/** Why the gateway parts from a device. */
export type Reason = 'bye' | 'handshake' | 'idle' | 'pong' | 'shutdown';

/** What happened at a gateway since it began. */
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

/** What a session needs of its gateway. */
export interface SessionContext {
  readonly timing: Timing;
  readonly timersFactory: TimersFactory;
  readonly history: History;
  readonly counters: Counters;
}

/** Every so many readings the gateway has a command for the device. */
const READINGS_PER_COMMAND = 16;

/** One connection: what is said on it. When it is said is the matter of its ConnectionTimers. */
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
    socket.on('error', () => {}); // 'close' follows, and says all there is to know
    socket.on('close', () => {
      this.#state = 'closed';
      this.#timers.closed();
    });
    this.#send('READY');
    this.#timers.connected();
  }

  /** HELLO has come and nobody has said BYE. */
  get open(): boolean {
    return this.#state === 'open';
  }

  // What a ConnectionTimers may ask for.

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
   * @returns how long to wait for its ACK before the next call; -1: there is nothing to send
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

  /** Parts in good order: see goodbye. Does nothing if that has begun. */
  leave(reason: Reason): void {
    if (this.#state === 'leaving' || this.#state === 'closed') return;
    this.#state = 'leaving';
    this.#reason = reason;
    this.#context.counters.left[reason] += 1;
    this.#timers.leaving();
  }

  /** Acknowledges what came, once it is on disk, says BYE, and hangs up. */
  async goodbye(): Promise<void> {
    await this.#context.history.flushed();
    this.sendAck();
    this.#send(`BYE ${this.#reason}`);
    this.socket.end();
  }

  /** Ends the connection without a word. */
  destroy(): void {
    this.#context.counters.cutByForce += 1;
    this.socket.destroy();
  }

  // What the device says.

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
    this.#unacked += 1; // one that came twice is acknowledged twice, and kept once
    if (seq > this.#lastSeq) {
      this.#lastSeq = seq;
      this.#context.history.add(this.id, seq, text);
    }
    this.#timers.dataCame(this.#unacked);
    if (seq % READINGS_PER_COMMAND === READINGS_PER_COMMAND - 1) this.#command();
  }

  #pong(number: number): void {
    if (number === this.#pings) this.#timers.ponged(); // an older one answers for nothing
  }

  #command(): void {
    this.#commandCount += 1;
    this.#commands.push(this.#commandCount);
    if (this.#commands.length === 1) this.#timers.commandReady();
  }

  #commandAcked(number: number): void {
    if (number !== this.#commands[0]) return; // the ACK of a copy
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

  /** The device closed its side; without BYE that is all the notice one gets. */
  #hungUp(): void {
    this.leave('bye');
  }

  #send(line: string): void {
    if (this.socket.writable) this.socket.write(`${line}\n`, 'latin1');
  }
}

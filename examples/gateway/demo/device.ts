import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { sharedNow } from './shared-clock.ts';

/** The behaviour of a device. Only the last five ever stop; the others count as live all the time. */
export type Character =
  | 'healthy'
  | 'slow' // sends lines in pieces, and acknowledges commands late
  | 'garbage' // every second line is malformed
  | 'polite' // sends BYE at some time
  | 'vanishing' // destroys its socket at some time, without BYE
  | 'silent' // connects, and sends nothing
  | 'half-dead' // stops sending at some time, but keeps the connection
  | 'mute'; // stops answering PING at some time, but keeps sending

/** The number of devices of each kind, of a hundred. */
const SHARES: readonly (readonly [Character, number])[] = [
  ['silent', 2],
  ['half-dead', 3],
  ['mute', 2],
  ['vanishing', 3],
  ['polite', 2],
  ['slow', 6],
  ['garbage', 6],
  ['healthy', 76],
];

const PACKET_EVERY_MS = 250;
const DRIBBLE_MS = 40;
const SLOW_ACK_MS = 180;
const PINGS_EVERY = 4;

const RUBBISH: readonly string[] = [
  'DATA one two\n',
  '\u0000\u00ff\u0007\n',
  'HELLO again\n',
  '\n',
  'PONG\n',
  `DATA 1 ${'x'.repeat(5000)}\n`,
  'GET / HTTP/1.1\r\n',
];

/** What a device reports to its fleet. */
export interface Watcher {
  opened(device: Device): void;
  /** The connection ended, and not because of the device. */
  cutOff(device: Device): void;
  answered(sentAt: number, tookMs: number): void;
}

/** Returns the character of the n-th device. */
export function characterOf(index: number): Character {
  let rest = index % 100;
  for (const [character, share] of SHARES) {
    if (rest < share) return character;
    rest -= share;
  }
  return 'healthy';
}

/** One device: it connects, sends packets when ticked, and answers the gateway. */
export class Device {
  readonly character: Character;
  /** When it stopped working; 0 while it is live. */
  diedAt = 0;
  /** When the gateway then closed its connection; 0 if it has not yet. */
  foundAt = 0;
  saidBye = false;
  byeAnswered = false;
  packets = 0;
  readingsAcked = 0;
  commandCopies = 0;
  /** The reason that the gateway gave when it ended the connection. */
  reason = '';

  readonly #index: number;
  readonly #port: number;
  readonly #watcher: Watcher;
  readonly #endsAt: number;
  #socket: Socket | null = null;
  #state: 'down' | 'connecting' | 'up' | 'over' = 'down';
  #nextAt: number;
  #unsent = '';
  #received = '';
  #seq = 0;
  #lastAck = -1;
  #turn = 0;
  #pingSentAt = 0;
  #lastCommand = 0;

  constructor(index: number, port: number, startAt: number, endsAt: number, watcher: Watcher) {
    this.#index = index;
    this.#port = port;
    this.character = characterOf(index);
    this.#nextAt = startAt;
    this.#endsAt = endsAt;
    this.#watcher = watcher;
  }

  /** Whether it has a connection. */
  get open(): boolean {
    return this.#state === 'up';
  }

  /** Sends the packets that are due. */
  tick(now: number): void {
    if (now < this.#nextAt || this.#state === 'over') return;
    if (this.#state === 'down') this.#connect();
    if (this.#state !== 'up' || this.character === 'silent') return;
    if (now >= this.#endsAt && this.diedAt === 0 && !this.saidBye) this.#end(now);
    if (this.#mayStillSpeak()) this.#speak(now);
  }

  #connect(): void {
    this.#state = 'connecting';
    this.#received = '';
    this.#unsent = '';
    this.#seq = 0;
    this.#lastAck = -1;
    this.#lastCommand = 0;
    this.#pingSentAt = 0;
    this.reason = 'no word';
    // Half-open is allowed, because a half-dead device does not answer a FIN either.
    const socket = connect({
      port: this.#port,
      host: '127.0.0.1',
      noDelay: true,
      allowHalfOpen: true,
    });
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (piece: string) => this.#hear(piece));
    socket.on('end', () => this.#lost(socket));
    socket.on('error', () => this.#lost(socket));
    socket.on('close', () => this.#lost(socket));
  }

  /** Starts sending. Until READY arrives, the gateway may not have accepted the connection. */
  #ready(): void {
    this.#state = 'up';
    const now = sharedNow();
    if (this.character === 'silent') this.diedAt = now;
    else this.#say(`HELLO device-${this.#index}\n`);
    this.#nextAt = now + ((this.#index * 7) % PACKET_EVERY_MS); // spread the devices over the period
    this.#watcher.opened(this);
  }

  /** Ends the device, if its character does so. */
  #end(now: number): void {
    if (this.character === 'half-dead' || this.character === 'mute') {
      this.diedAt = now;
    } else if (this.character === 'polite') {
      this.#say('BYE\n');
      this.saidBye = true;
    } else if (this.character === 'vanishing') {
      this.#state = 'over';
      this.diedAt = now;
      this.#socket?.destroy();
    }
  }

  #mayStillSpeak(): boolean {
    return (
      this.#state === 'up' && !this.saidBye && (this.diedAt === 0 || this.character === 'mute')
    );
  }

  #speak(now: number): void {
    if (this.#unsent !== '') {
      const rest = this.#unsent;
      this.#unsent = '';
      this.#say(rest);
      this.#nextAt = now + PACKET_EVERY_MS;
      return;
    }
    this.#turn += 1;
    const line = this.#nextLine();
    if (this.character === 'slow') {
      this.#say(line.slice(0, 4));
      this.#unsent = line.slice(4);
      this.#nextAt = now + DRIBBLE_MS;
    } else {
      this.#say(line);
      this.#nextAt = now + PACKET_EVERY_MS;
    }
  }

  #nextLine(): string {
    if (this.character === 'garbage' && this.#turn % 2 === 0) {
      return RUBBISH[(this.#turn / 2) % RUBBISH.length] ?? '';
    }
    // A device that sends in pieces would measure its own delay.
    if (this.#turn % PINGS_EVERY === 0 && this.#pingSentAt === 0 && this.character !== 'slow') {
      this.#pingSentAt = sharedNow();
      return 'PING\n';
    }
    this.#seq += 1;
    return `DATA ${this.#seq - 1} temperature=${20 + (this.#seq % 10)}\n`;
  }

  #hear(piece: string): void {
    const text = this.#received + piece;
    let from = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      this.#understand(text.slice(from, end));
      from = end + 1;
    }
    this.#received = text.slice(from);
  }

  #understand(line: string): void {
    if (this.character === 'half-dead' && this.diedAt > 0) return;
    const space = line.indexOf(' ');
    const verb = space < 0 ? line : line.slice(0, space);
    const rest = space < 0 ? '' : line.slice(space + 1);
    if (verb === 'READY') this.#ready();
    else if (verb === 'PONG') this.#pong();
    else if (verb === 'PING') this.#answerPing(rest);
    else if (verb === 'ACK') this.#acknowledged(Number(rest));
    else if (verb === 'CMD') this.#obey(Number.parseInt(rest, 10));
    else if (verb === 'BYE') this.#bye(rest);
  }

  #pong(): void {
    if (this.#pingSentAt === 0) return;
    const now = sharedNow();
    this.#watcher.answered(this.#pingSentAt, now - this.#pingSentAt);
    this.#pingSentAt = 0;
  }

  #answerPing(number: string): void {
    const mute = this.character === 'mute' && this.diedAt > 0;
    if (!mute) this.#say(`PONG ${number}\n`);
  }

  #acknowledged(seq: number): void {
    this.readingsAcked += seq - this.#lastAck;
    this.#lastAck = seq;
  }

  #obey(number: number): void {
    // A copy of a command already acknowledged, which a real device must not execute twice.
    if (number <= this.#lastCommand) this.commandCopies += 1;
    else this.#lastCommand = number;
    if (this.character !== 'slow') this.#say(`ACK ${number}\n`);
    else setTimeout(() => this.#say(`ACK ${number}\n`), SLOW_ACK_MS);
  }

  #bye(reason: string): void {
    this.reason = reason;
    if (reason === 'bye') this.byeAnswered = true;
    // The gateway is shutting down: no device was dropped.
    if (reason === 'bye' || reason === 'shutdown') {
      this.#state = 'over';
      this.#socket?.end();
    }
  }

  /** Handles the end of the connection, at the first sign of it. */
  #lost(socket: Socket): void {
    if (socket !== this.#socket) return;
    this.#socket = null;
    if (this.character !== 'half-dead') socket.end(); // a half-dead device does not even close its side
    if (this.#state === 'over') return;
    const now = sharedNow();
    const wasUp = this.#state === 'up';
    this.#state = 'down';
    this.#nextAt = now + 100 + ((this.#index * 13) % 300);
    if (!wasUp) return;
    if (this.diedAt > 0) {
      this.foundAt = now;
      this.#state = 'over';
    } else if (this.saidBye) {
      this.#state = 'over';
    }
    if (!this.saidBye) this.#watcher.cutOff(this);
  }

  #say(text: string): void {
    if (!this.#socket?.writable) return;
    if (this.#unsent !== '') {
      this.#unsent += text; // a line is half sent: append to it
      return;
    }
    this.packets += 1;
    this.#socket.write(text, 'latin1');
  }
}

import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { History } from './history.ts';
import { Session } from './session.ts';
import type { Counters, SessionContext } from './session.ts';
import type { Leftovers, TimersFactory, Timing } from './timers.ts';

/** The result of closing a gateway. */
export interface CloseReport extends Leftovers {
  readonly counters: Counters;
  readonly accepted: number;
  readonly lost: number;
  /** Number of connections that were open when closing began. */
  readonly parted: number;
  readonly tookMs: number;
}

/** Grace period for the last continuations once every connection is gone, in ms. */
const GRACE_MS = 2000;

/** The server: accepts connections, keeps their sessions, closes gracefully. */
export class Gateway implements SessionContext {
  readonly sessions: Set<Session> = new Set();
  readonly history: History;
  readonly timersFactory: TimersFactory;
  readonly timing: Timing;
  readonly counters: Counters = {
    connections: 0,
    packets: 0,
    malformed: 0,
    commands: 0,
    resent: 0,
    givenUp: 0,
    cutByForce: 0,
    left: { bye: 0, handshake: 0, idle: 0, pong: 0, shutdown: 0 },
  };

  readonly #server: Server;
  #allGone: () => void = () => {};

  private constructor(timersFactory: TimersFactory, timing: Timing, history: History) {
    this.timersFactory = timersFactory;
    this.history = history;
    this.timing = timing;
    history.wake = timersFactory.historian(history);
    // Half-open is allowed: a device that sends BYE and closes its side still gets the answer.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Starts a gateway on 127.0.0.1. Port 0 lets the system choose a port. */
  static async start(
    timersFactory: TimersFactory,
    timing: Timing,
    historyPath: string,
    port: number,
  ): Promise<Gateway> {
    const history = await History.open(historyPath, timing.historyMs);
    const gateway = new Gateway(timersFactory, timing, history);
    await new Promise<void>((resolve, reject) => {
      gateway.#server.once('error', reject);
      gateway.#server.listen({ host: '127.0.0.1', port, backlog: 4096 }, resolve);
    });
    return gateway;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /**
   * Closes gracefully: refuses new connections, sends BYE to each device, waits until all readings are
   * on disk, and closes the timers factory. The time is bounded, because each connection's close is.
   */
  async close(): Promise<CloseReport> {
    const begun = performance.now();
    const parted = this.sessions.size;
    this.#server.close();
    const allGone = new Promise<void>((resolve) => (this.#allGone = resolve));
    for (const session of this.sessions) session.leave('shutdown');
    if (this.sessions.size > 0) await allGone;
    await this.history.close();
    const leftovers = await this.timersFactory.close(GRACE_MS);
    return {
      ...leftovers,
      counters: this.counters,
      accepted: this.history.accepted,
      lost: this.history.lost,
      parted,
      tookMs: performance.now() - begun,
    };
  }

  #accept(socket: Socket): void {
    const session = new Session(socket, this);
    this.counters.connections += 1;
    this.sessions.add(session);
    socket.on('close', () => {
      this.sessions.delete(session);
      if (this.sessions.size === 0) this.#allGone();
    });
  }
}

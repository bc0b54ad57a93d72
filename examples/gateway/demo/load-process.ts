/* The devices, in a separate process, so that what blocks the gateway does not block them. */
import type { Timing } from '../timers.ts';
import { Device } from './device.ts';
import type { Watcher } from './device.ts';
import { Lateness } from './lateness.ts';
import type { Death, FromLoad, LoadResult, ToLoad } from './messages.ts';
import { measure } from './measuring.ts';
import { sharedNow } from './shared-clock.ts';

const TICK_MS = 10;
const PROGRESS_MS = 200;
/** How long to wait at the end for the gateway to detect the last dead devices, in ms. */
const PATIENCE_MS = 5000;

/** All devices, which it ticks in turn, and their results. */
class Fleet implements Watcher {
  readonly #devices: Device[] = [];
  readonly #timing: Timing;
  readonly #begunAt: number;
  readonly #endsAt: number;
  readonly #lateness: Lateness;
  readonly #pings: number[] = [];
  #notYetOpen: number;
  readonly #killedFor: Map<string, number> = new Map();
  #killed = 0;
  #notJudged = 0;
  #nextProgress = 0;
  #judging = true;

  constructor(port: number, count: number, forMs: number, timing: Timing) {
    const now = sharedNow();
    this.#timing = timing;
    this.#begunAt = now;
    this.#endsAt = now + forMs;
    this.#lateness = new Lateness(now);
    this.#notYetOpen = count;
    const openingMs = Math.min(forMs / 8, count / 2);
    for (let i = 0; i < count; i++) {
      // Devices stop at different times, so that stalls find them in every state.
      const share = ((i * 37) % 101) / 101;
      const endsAt = now + openingMs + forMs * (0.1 + 0.4 * share);
      this.#devices.push(new Device(i, port, now + (i / count) * openingMs, endsAt, this));
    }
    this.#run();
  }

  opened(): void {
    this.#notYetOpen -= 1;
    if (this.#notYetOpen === 0) {
      tell({ type: 'connected', afterMs: sharedNow() - this.#begunAt });
    }
  }

  cutOff(device: Device): void {
    if (!this.#judging || device.diedAt > 0) return;
    if (this.#lateness.inDoubt(sharedNow())) {
      this.#notJudged += 1;
      return;
    }
    this.#killed += 1;
    this.#killedFor.set(device.reason, (this.#killedFor.get(device.reason) ?? 0) + 1);
  }

  answered(sentAt: number, tookMs: number): void {
    if (this.#judging) this.#pings.push(sentAt, tookMs);
  }

  #run(): void {
    const now = sharedNow();
    this.#lateness.tick(now);
    for (const device of this.#devices) device.tick(now);
    if (now >= this.#nextProgress) {
      this.#nextProgress = now + PROGRESS_MS;
      this.#progress();
    }
    if (this.#judging && now >= this.#endsAt && !this.#stillWaiting(now)) {
      this.#judging = false;
      tell({ type: 'result', result: this.#result() });
    }
    setTimeout(() => this.#run(), TICK_MS);
  }

  /** Whether some dead device is not detected yet, and the time to wait for it is not over. */
  #stillWaiting(now: number): boolean {
    return this.#deaths().some(
      (death) => death.foundAt === null && now < death.at + death.allowedMs + PATIENCE_MS,
    );
  }

  #progress(): void {
    const deaths = this.#deaths();
    tell({
      type: 'progress',
      open: this.#devices.filter((device) => device.open).length,
      packets: this.#sum((device) => device.packets),
      killed: this.#killed,
      dead: deaths.length,
      found: deaths.filter((death) => death.foundAt !== null).length,
    });
  }

  #result(): LoadResult {
    return {
      packets: this.#sum((device) => device.packets),
      killed: this.#killed,
      killedFor: this.#killedFor,
      notJudged: this.#notJudged,
      deaths: this.#deaths(),
      vanished: this.#sum((device) =>
        Number(device.character === 'vanishing' && device.diedAt > 0),
      ),
      byesSaid: this.#sum((device) => Number(device.saidBye)),
      byesAnswered: this.#sum((device) => Number(device.byeAnswered)),
      pings: Float64Array.from(this.#pings),
      readingsAcked: this.#sum((device) => device.readingsAcked),
      commandCopies: this.#sum((device) => device.commandCopies),
      worstLagMs: this.#lateness.worstMs,
    };
  }

  #deaths(): Death[] {
    const { handshakeMs, idleMs, heartbeatMs, pongMs } = this.#timing;
    const allowed = { silent: handshakeMs, 'half-dead': idleMs, mute: heartbeatMs + pongMs };
    const deaths: Death[] = [];
    for (const { character, diedAt, foundAt } of this.#devices) {
      if (character !== 'silent' && character !== 'half-dead' && character !== 'mute') continue;
      if (diedAt === 0) continue;
      deaths.push({
        how: character,
        at: diedAt,
        allowedMs: allowed[character],
        foundAt: foundAt === 0 ? null : foundAt,
      });
    }
    return deaths;
  }

  #sum(of: (device: Device) => number): number {
    let sum = 0;
    for (const device of this.#devices) sum += of(device);
    return sum;
  }
}

process.on('message', (message: ToLoad) => {
  if (message.type === 'end') process.exit(0);
  if (message.type === 'burn' || message.type === 'cpu') tell(measure(message));
  // From here on, timers drive the process.
  else void new Fleet(message.port, message.devices, message.forMs, message.timing);
});
process.once('disconnect', () => process.exit(1));

function tell(message: FromLoad): void {
  process.send?.(message);
}

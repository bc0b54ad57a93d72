import { kernel as processKernel } from '../../core/kernel.ts';
import { HostClock, commonMs } from '../../time/host-clock.ts';
import type { KernelObserver } from '../kernel-observer.ts';
import { Recorder } from '../recorder/recorder.ts';
import { sharedRings } from '../recorder/recording.ts';
import type { LockName, WorkName } from '../recorder/records.ts';
import { Ring, createRings } from '../recorder/ring.ts';
import type { Cursor, RecordsHeader, RingHeader } from './protocol.ts';

/** How many records the ring has that is made here; a power of two. */
const CAPACITY = 2 ** 16;
/** How many records of one CPU are sent at once. */
const MOST_RECORDS = 2 ** 16;
const ALIGNMENT = 8;
const LENGTH_BYTES = Uint32Array.BYTES_PER_ELEMENT;

interface Source {
  readonly rings: readonly Ring[];
  readonly originMs: number;
  readonly isHosts: boolean;
  readonly stop: () => void;
}

/** The rings of a flight recorder that is running, or one that is made for this. */
function open(observer: KernelObserver): Source {
  const { kernel, clock } = observer.dispatcher;
  const shared = kernel === processKernel ? sharedRings() : undefined;
  if (shared !== undefined) {
    const { buffer, cpus, capacity, originMs, isHosts } = shared;
    const rings = Array.from({ length: cpus }, (_, index) => new Ring(buffer, index, capacity));
    return { rings, originMs, isHosts, stop: () => undefined };
  }
  const ring = new Ring(createRings(1, CAPACITY), 0, CAPACITY);
  const recorder = new Recorder(observer, ring);
  const isHosts = clock instanceof HostClock;
  return { rings: [ring], originMs: recorder.originMs, isHosts, stop: () => recorder.stop() };
}

/**
 * Reads what a kernel's CPUs record, for the page. Nothing is decoded here: that is done by the page.
 *
 * @internal
 */
export class RingReader {
  readonly #observer: KernelObserver;
  #source: Source | null = null;
  #number = 0;

  constructor(observer: KernelObserver) {
    this.#observer = observer;
  }

  start(): void {
    if (this.#source !== null) return;
    this.#source = open(this.#observer);
    this.#number++;
  }

  stop(): void {
    this.#source?.stop();
    this.#source = null;
  }

  /** Returns the records that the page does not have, as in the protocol. */
  read({ source, rings: sent = [] }: Cursor): Buffer {
    this.start();
    const known = source === this.#number ? sent : [];
    const { rings, originMs, isHosts } = this.#source as Source;
    const headers: RingHeader[] = [];
    const parts: Uint8Array[] = [];
    for (const [index, ring] of rings.entries()) {
      const [records = 0, names = 0] = known[index] ?? [];
      const tail = ring.tail(records, names, MOST_RECORDS);
      if (tail === undefined) {
        headers.push({ cpu: null, lost: 0, records: 0, next: [0, 0], names: [] });
        continue;
      }
      parts.push(tail.bytes);
      headers.push({
        cpu: tail.cpu,
        lost: tail.lost,
        records: tail.records,
        next: [tail.written, names + tail.names.length],
        names: tail.names.map((json) => JSON.parse(json) as WorkName | LockName),
      });
    }
    const nowMs = isHosts ? commonMs() : this.#observer.dispatcher.clock.now + originMs;
    const header: RecordsHeader = { source: this.#number, nowMs, originMs, rings: headers };
    let text = Buffer.from(JSON.stringify(header));
    const rest = (LENGTH_BYTES + text.length) % ALIGNMENT;
    if (rest > 0) text = Buffer.concat([text, Buffer.alloc(ALIGNMENT - rest, ' ')]);
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32LE(text.length);
    return Buffer.concat([length, text, ...parts]);
  }
}

import type { StallKind } from './messages.ts';

/** Longer than the idle timeout: a gateway that expires timers before it reads drops live devices. */
export const STALL_MS = 900;

/** From the beginning of one stall to the beginning of the next. */
const STALL_EVERY_MS = 1500;

/** Time that a round takes besides its load, for forking, closing and counting. */
const OVERHEAD_MS = 900;

const KINDS: readonly StallKind[] = ['the check phase', 'an I/O callback', 'a timer'];

/** One round: a gateway, a load and stalls. The two rounds of a run have the same plan. */
export interface Plan {
  readonly devices: number;
  /** How long the load lasts. */
  readonly forMs: number;
  /** When (counted from the beginning of the load) and where the server is blocked. */
  readonly stalls: readonly { readonly atMs: number; readonly kind: StallKind }[];
}

/** Divides the duration of a run into rounds and stalls. */
export function planFor(devices: number, seconds: number): Plan {
  const forMs = (seconds * 1000) / 2 - OVERHEAD_MS;
  const firstMs = Math.min(forMs / 8, devices / 2) + 500; // time to connect, and to measure the heap
  const count = Math.max(1, Math.floor((forMs - firstMs) / STALL_EVERY_MS));
  const stalls = Array.from({ length: count }, (_, i) => ({
    atMs: firstMs + i * STALL_EVERY_MS,
    kind: KINDS[i % KINDS.length] ?? 'a timer',
  }));
  return { devices, forMs, stalls };
}

/** Returns how many of the wanted devices the limit of open files allows. */
export function affordable(devices: number): number {
  // Each process holds one end of every connection, and some other files.
  return Math.min(devices, openFileLimit() - 100);
}

function openFileLimit(): number {
  const report = process.report.getReport() as {
    readonly userLimits?: { readonly open_files?: { readonly soft: number | string } };
  };
  const soft = report.userLimits?.open_files?.soft;
  return typeof soft === 'number' ? soft : Number.POSITIVE_INFINITY; // 'unlimited', or Windows
}

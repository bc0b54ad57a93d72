import type { Measured, Measurement } from './messages.ts';

/** Answers questions about the machine, in both processes. */
export function measure(message: Measurement): Measured {
  if (message.type === 'burn') return { type: 'burnt', cpuShare: burn(message.ms).cpuShare };
  return { type: 'cpuUsed', seconds: cpuSeconds() };
}

/** Keeps a core busy. Returns the share of it that this process got, and the CPU time used. */
export function burn(ms: number): { readonly cpuShare: number; readonly seconds: number } {
  const before = cpuSeconds();
  const from = performance.now();
  while (performance.now() - from < ms);
  const seconds = cpuSeconds() - before;
  return { cpuShare: (seconds * 1000) / (performance.now() - from), seconds };
}

/** Returns the CPU time that this process has used. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

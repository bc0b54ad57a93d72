// What the figures were measured on.

import { availableParallelism, cpus, totalmem } from 'node:os';
import { readFileSync } from 'node:fs';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly platform: string;
  readonly node: string;
  readonly v8: string;
  /** As 2011-01-23. */
  readonly date: string;
  /** The peers' versions, by name. */
  readonly peers: Readonly<Record<string, string>>;
}

const PEERS = [
  'p-queue',
  'p-limit',
  'async-mutex',
  'fastq',
  'undici',
  'piscina',
  'tinypool',
  'workerpool',
  'jimp',
  'graphile-worker',
  'lodash',
  'p-debounce',
  'p-throttle',
  'bottleneck',
  'p-retry',
  'croner',
  'toad-scheduler',
];

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() || 'unknown CPU',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    v8: process.versions.v8,
    date: new Date().toISOString().slice(0, 10),
    peers: Object.fromEntries(PEERS.map((name) => [name, versionOf(name)])),
  };
}

/** From the package's own description: not every package exports it. */
function versionOf(name: string): string {
  try {
    const text = readFileSync(`node_modules/${name}/package.json`, 'utf8');
    return (JSON.parse(text) as { version: string }).version;
  } catch {
    return '?';
  }
}

/** One line: CPU, cores, memory, Node, date. */
export function inOneLine(machine: Machine): string {
  const { cpu, cores, memoryGiB, node, platform, date } = machine;
  return `${cpu}, ${cores} CPUs, ${memoryGiB} GiB, Node ${node}, ${platform}, ${date}`;
}

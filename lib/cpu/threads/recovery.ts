/*
 * What becomes of a CPU's work when its thread has ended.
 *
 *   ran there            settled; its caller, or the handler of its errors, gets ECPUDIED, with the
 *                        names of the CPU and of the function
 *   queued, pending      affinity strong: stays, and is filed again by the CPU's next thread
 *                        else: goes to another CPU that is up, in the order in which it was runnable;
 *                        if none is, to whichever is up next
 *   made there           the blocks are CPU 0's from now on; jobs for callers that are gone are
 *                        withdrawn
 *   waited for there     forgotten
 *
 * All of it is read from the control blocks: the queues of the dead thread, and its inbox, say nothing
 * that does not stand there too. So no list is kept for this, and a thread may end at any instruction.
 */

import { KcontError } from '../../base/errors.ts';
import { label } from '../../core/schedule.ts';
import { DEAD, HALTING, PENDING, RUNNING, SCHEDULED, settled } from '../../core/state.ts';
import {
  AFFINITIES,
  ANY,
  BUSY,
  CPU,
  DEADLINE,
  HALTERS,
  HANDLE,
  HOME,
  JOB_KIND,
  KNOWN,
  RAN,
  SEQ,
  SPEC,
  WAITERS,
  affinityOf,
  generationOf,
  kindOf,
  rescueWord,
} from '../memory/control-block.ts';
import { allBlocks } from '../memory/block-allocator.ts';
import { numberOf } from '../memory/block-lock.ts';
import { JobRunner } from '../jobs/job-runner.ts';
import type { LocalCpu } from '../local-cpu.ts';
import { Inbox } from '../messages/inbox.ts';
import { ENDED, HOLDS, INTENT, LOCK_CPU, type Memory } from '../memory/shared-memory.ts';
import type { RemoteEntry } from '../handles/remote-entry.ts';
import { recover as recoverLocks } from '../locks/recover.ts';

/** Something that is runnable, or will be. */
interface Found {
  readonly block: number;
  readonly word: number;
  readonly seq: number;
  readonly deadline: number;
}

/** Frees or hands on the locks that a dead CPU held. Returns how many there were. */
export function recoverLocksOf({ memory, arena }: LocalCpu, dead: number): number {
  const at = memory.slot(dead) + LOCK_CPU;
  const lockCpu = memory.words[at] as number;
  memory.words[at] = 0;
  return lockCpu === 0 ? 0 : recoverLocks(lockCpu - 1, arena);
}

/** A run has ended with its thread: tells whoever has to know. */
export type Loss = (entry: RemoteEntry) => void;

/** The thread has died, or `wasEnded` by CPU 0. */
export function lossByDeath(
  localCpu: LocalCpu,
  dead: number,
  cause: unknown,
  wasEnded: boolean,
): Loss {
  return (entry) => {
    const what = `CPU ${dead} ${wasEnded ? 'was stopped' : 'died'} while it ran ${label(entry.kc)}`;
    const error = Object.assign(new KcontError('ECPUDIED', what), { cause });
    if (entry instanceof JobRunner) entry.report(error);
    else localCpu.remoteErrors.failedAt(entry, error);
  };
}

/** The kernel has closed: only who waits for a result is told. */
export function lossByClose(): Loss {
  return (entry) => {
    if (entry instanceof JobRunner)
      entry.report(new KcontError('ESHUTDOWN', 'the kernel is closed'));
  };
}

/** Takes over what a CPU had to do. Its state is no longer UP. */
export function recover(localCpu: LocalCpu, dead: number, loss: Loss): void {
  const { memory } = localCpu;
  const { words } = memory;
  const bit = 1 << dead;
  // What it has finished to say.
  localCpu.take();
  const intent = words[memory.slot(dead) + INTENT] as number;
  words[memory.slot(dead) + INTENT] = 0;
  discardInbox(memory, dead);
  const holds = words[memory.slot(dead) + HOLDS] as number;
  words[memory.slot(dead) + HOLDS] = 0;
  words[memory.slot(dead) + ENDED]! += holds;
  const moving: Found[] = [];
  for (const block of allBlocks(memory)) {
    // The views may be new ones: the dead may have grown the memory.
    const { words: seen } = memory;
    const word = rescueWord(memory, block);
    Atomics.and(seen, block + KNOWN, ~bit);
    Atomics.and(seen, block + WAITERS, ~bit);
    if (((seen[block + HALTERS] as number) & bit) !== 0) endHalt(localCpu, block, bit);
    const isThere = seen[block + CPU] === dead || seen[block + CPU] === ANY || block === intent;
    if ((word & SCHEDULED) !== 0 && isThere) moving.push(found(memory, block, word));
    if ((word & RUNNING) !== 0 && seen[block + RAN] === dead) {
      endRun(localCpu, block, loss);
    }
    if (seen[block + HOME] === dead) inherit(localCpu, block);
  }
  move(localCpu, dead, moving.toSorted(inOrder));
  localCpu.alive.recount();
}

/** Files what has to run on this CPU, left by the thread that was it before. */
export function resumeWork(localCpu: LocalCpu): void {
  const { memory, index } = localCpu;
  const left: Found[] = [];
  for (const block of allBlocks(memory)) {
    const cpu = memory.words[block + CPU];
    if (cpu !== index && cpu !== ANY) continue;
    const word = rescueWord(memory, block);
    if ((word & SCHEDULED) !== 0) left.push(found(memory, block, word));
  }
  for (const { block, word, seq } of left.toSorted(inOrder)) {
    localCpu.handles.entryAt(block).file(generationOf(word), seq);
  }
}

function found(memory: Memory, block: number, word: number): Found {
  const seq = memory.words[block + SEQ] as number;
  return { block, word, seq, deadline: memory.floats[(block + DEADLINE) >> 1] as number };
}

/** What is runnable in the order in which it became so; timers by their deadlines. */
function inOrder(a: Found, b: Found): number {
  const isTimer = a.word & PENDING;
  if (isTimer !== (b.word & PENDING)) return isTimer === 0 ? -1 : 1;
  if (isTimer !== 0 && a.deadline !== b.deadline) return a.deadline - b.deadline;
  return (a.seq - b.seq) | 0;
}

/** Nobody reads it any more; what matters stands in the blocks. */
function discardInbox(memory: Memory, dead: number): void {
  new Inbox(memory, dead).take(() => undefined);
}

/** A run has ended with its thread. */
function endRun(localCpu: LocalCpu, block: number, loss: Loss): void {
  const { memory } = localCpu;
  for (;;) {
    const word = rescueWord(memory, block);
    const next = settled(word);
    if (Atomics.compareExchange(memory.words, block, word, next) !== word) continue;
    localCpu.alive.count(word, next);
    break;
  }
  const entry = localCpu.handles.entryAt(block);
  localCpu.tellWaiters(entry);
  localCpu.settledAt(entry);
  loss(entry);
  if ((entry.bits & DEAD) !== 0) localCpu.free(block, entry.handle);
}

function endHalt(localCpu: LocalCpu, block: number, bit: number): void {
  const { memory } = localCpu;
  const { words } = memory;
  for (;;) {
    const word = rescueWord(memory, block);
    if (Atomics.compareExchange(words, block, word, word | BUSY) !== word) continue;
    const halters = (words[block + HALTERS] as number) & ~bit;
    words[block + HALTERS] = halters;
    const next = halters === 0 ? word & ~HALTING : word;
    if (Atomics.compareExchange(words, block, word | BUSY, next) === (word | BUSY)) return;
  }
}

/** Whoever made it is gone. */
function inherit(localCpu: LocalCpu, block: number): void {
  const { words } = localCpu.memory;
  words[block + HOME] = localCpu.index;
  const handle = words[block + HANDLE] as number;
  const word = rescueWord(localCpu.memory, block);
  const isUsed = word & (SCHEDULED | RUNNING | DEAD) || words[block + KNOWN] !== 0;
  if (!isUsed) localCpu.handles.reclaim(block, handle);
  else if ((word & DEAD) !== 0) {
    if ((word & RUNNING) === 0) localCpu.handles.reclaim(block, handle);
  } else if (kindOf(words[block + SPEC] as number) === JOB_KIND) {
    localCpu.handles.entryAt(block).destroy();
  }
}

function move(localCpu: LocalCpu, dead: number, moving: readonly Found[]): void {
  const { memory } = localCpu;
  const { words } = memory;
  for (const { block } of moving) {
    const word = rescueWord(memory, block);
    if ((word & SCHEDULED) === 0) continue;
    const entry = localCpu.handles.entryAt(block);
    const isStrong = AFFINITIES[affinityOf(words[block + SPEC] as number)] === 'strong';
    const was = words[block + CPU] as number;
    let target = was;
    if (was === dead) {
      // What waits for one lock stays on one CPU: it is their order.
      if (isStrong || numberOf(memory, block) !== 0) continue;
      // If none is up: whichever is up next.
      target = localCpu.placement.choose();
      entry.moveTo(target);
    }
    localCpu.submit(entry, target, generationOf(word), words[block + SEQ] as number, false);
  }
}

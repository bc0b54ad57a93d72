/*
 * Recovery of a CPU's work when its thread has ended.
 *
 *   running there        settled; the caller, or `onError`, gets ECPUDIED with the names of the CPU and
 *                        the function
 *   queued, pending      strong affinity: stays, and is filed again by the CPU's next thread
 *                        otherwise: moves to another CPU that is up, in the order of the run queue; if
 *                        no CPU is up, to the first one that is
 *   made there           CPU 0 becomes the home of the blocks; jobs whose callers are gone are withdrawn
 *   waited for there     the waits are forgotten
 *
 * All this is read from the control blocks. The queues and the inbox of the dead thread contain nothing
 * that is not in the blocks too. So no separate list is needed, and a thread may end at any instruction.
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
import type { CpuContext } from '../cpu-context.ts';
import type { LocalCpu } from '../local-cpu.ts';
import { Inbox } from '../messages/inbox.ts';
import { ENDED, HOLDS, INTENT, LOCK_CPU, type Memory } from '../memory/shared-memory.ts';
import type { RemoteEntry } from '../handles/remote-entry.ts';
import { recover as recoverLocks } from '../locks/recover.ts';

/** A continuation that is QUEUED or PENDING. */
interface Found {
  readonly block: number;
  readonly word: number;
  readonly seq: number;
  readonly deadline: number;
}

/** Frees or passes on the locks that a dead CPU held. Returns how many it held. */
export function recoverLocksOf({ memory, arena }: CpuContext, dead: number): number {
  const at = memory.slot(dead) + LOCK_CPU;
  const lockCpu = memory.words[at] as number;
  memory.words[at] = 0;
  return lockCpu === 0 ? 0 : recoverLocks(lockCpu - 1, arena);
}

/** Reports a run that has ended with its thread. */
export type Loss = (entry: RemoteEntry) => void;

/** Makes the reporter for a thread that has died, or `wasEnded` by CPU 0. */
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

/** Makes the reporter for a kernel that has closed: only callers that wait for a result are told. */
export function lossByClose(): Loss {
  return (entry) => {
    if (entry instanceof JobRunner)
      entry.report(new KcontError('ESHUTDOWN', 'the kernel is closed'));
  };
}

/** Recovers the work of a dead CPU, whose state is no longer UP. */
export function recover(localCpu: LocalCpu, dead: number, loss: Loss): void {
  const { memory } = localCpu.context;
  const { words } = memory;
  const bit = 1 << dead;
  // The messages that the dead CPU has sent.
  localCpu.take();
  const intent = words[memory.slot(dead) + INTENT] as number;
  words[memory.slot(dead) + INTENT] = 0;
  discardInbox(memory, dead);
  const holds = words[memory.slot(dead) + HOLDS] as number;
  words[memory.slot(dead) + HOLDS] = 0;
  words[memory.slot(dead) + ENDED]! += holds;
  const moving: Found[] = [];
  for (const block of allBlocks(memory)) {
    // Read again for each block: the views are replaced if the dead CPU has grown the memory.
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

/** Files the work that this CPU's previous thread has left. */
export function resumeWork(localCpu: LocalCpu): void {
  const { memory, index } = localCpu.context;
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

/** Orders runnable continuations by when they became runnable, then timers by their deadlines. */
function inOrder(a: Found, b: Found): number {
  const isTimer = a.word & PENDING;
  if (isTimer !== (b.word & PENDING)) return isTimer === 0 ? -1 : 1;
  if (isTimer !== 0 && a.deadline !== b.deadline) return a.deadline - b.deadline;
  return (a.seq - b.seq) | 0;
}

/** Empties the inbox of a dead CPU; everything that matters is in the control blocks. */
function discardInbox(memory: Memory, dead: number): void {
  new Inbox(memory, dead).take(() => undefined);
}

/** Settles a run that has ended with its thread. */
function endRun(localCpu: LocalCpu, block: number, loss: Loss): void {
  const { memory } = localCpu.context;
  for (;;) {
    const word = rescueWord(memory, block);
    const next = settled(word);
    if (Atomics.compareExchange(memory.words, block, word, next) !== word) continue;
    localCpu.alive.count(word, next);
    break;
  }
  const entry = localCpu.handles.entryAt(block);
  entry.tellWaiters();
  entry.settledElsewhere();
  loss(entry);
  if ((entry.bits & DEAD) !== 0) localCpu.handles.release(block, entry.handle);
}

function endHalt(localCpu: LocalCpu, block: number, bit: number): void {
  const { memory } = localCpu.context;
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

/** Makes this CPU the home of a block whose home has died. */
function inherit(localCpu: LocalCpu, block: number): void {
  const { words } = localCpu.context.memory;
  words[block + HOME] = localCpu.context.index;
  const handle = words[block + HANDLE] as number;
  const word = rescueWord(localCpu.context.memory, block);
  const isUsed = word & (SCHEDULED | RUNNING | DEAD) || words[block + KNOWN] !== 0;
  if (!isUsed) localCpu.handles.reclaim(block, handle);
  else if ((word & DEAD) !== 0) {
    if ((word & RUNNING) === 0) localCpu.handles.reclaim(block, handle);
  } else if (kindOf(words[block + SPEC] as number) === JOB_KIND) {
    localCpu.handles.entryAt(block).destroy();
  }
}

function move(localCpu: LocalCpu, dead: number, moving: readonly Found[]): void {
  const { memory } = localCpu.context;
  const { words } = memory;
  for (const { block } of moving) {
    const word = rescueWord(memory, block);
    if ((word & SCHEDULED) === 0) continue;
    const entry = localCpu.handles.entryAt(block);
    const isStrong = AFFINITIES[affinityOf(words[block + SPEC] as number)] === 'strong';
    const was = words[block + CPU] as number;
    let target = was;
    if (was === dead) {
      // Continuations that wait for the same lock stay on one CPU, which keeps their order.
      if (isStrong || numberOf(memory, block) !== 0) continue;
      // ANY if no CPU is up: then the next one that is up takes it.
      target = localCpu.placement.choose();
      entry.moveTo(target);
    }
    localCpu.submission.submit(
      entry,
      target,
      generationOf(word),
      words[block + SEQ] as number,
      false,
    );
  }
}

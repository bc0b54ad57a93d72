/*
 * Shares: the workqueues of one priority take turns, by stride scheduling (see base/stride.ts).
 *
 *   root level ---- group ----+---- lane, 3 shares ---- level: resumed, timed, direct
 *   resumed: promoted         +---- lane, 1 share  ---- level: resumed, timed, direct
 *
 * A level whose workqueues have no shares has no group, and costs nothing. When a workqueue with shares is acquired,
 * each workqueue of its priority gets a lane, which is a level of its own; those without the option have one share. The
 * run queue knows only the root, which passes on what it is asked. Its own lists hold what locks have promoted from
 * lower levels, and what has inherited the priority; that goes first. When the last workqueue with shares has been freed and nothing is
 * runnable, the lanes are given up.
 *
 * What a lane is charged for is the time that its functions run (see share-meter.ts).
 *
 * A lane whose entries have been withdrawn is found when it is its turn, as a bit of an empty level is.
 */

import { unlink } from '../base/list.ts';
import { stamp } from '../base/ordered-list.ts';
import { Stride, StrideQueue } from '../base/stride.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Kcont } from './kcont.ts';
import { Level, type Runnable } from './run-queue.ts';
import type { Workqueue } from './workqueue.ts';

/** The runnable entries of one workqueue with shares, and of the private ones that were made of it. */
export class Lane<R extends Runnable> extends Stride {
  readonly level: Level<R>;
  /** Whether its workqueue was acquired with shares. */
  readonly asked: boolean;
  /** The number of its workqueues. */
  members = 0;
  readonly #group: ShareGroup<R>;

  constructor(group: ShareGroup<R>, shares: number | undefined) {
    super(shares ?? 1);
    this.#group = group;
    this.asked = shares !== undefined;
    this.level = new Level<R>(group.root.priority, group.root, this);
  }

  get group(): ShareGroup<R> {
    return this.#group;
  }

  /** Called when it gets an entry. */
  join(): void {
    this.#group.lanes.join(this);
  }

  /** Adds what its functions have used. */
  charge(ms: number): void {
    this.#group.lanes.charge(this, ms);
  }
}

/** The lanes of one priority. */
export class ShareGroup<R extends Runnable> {
  readonly root: Level<R>;
  /** Those that may have entries. */
  readonly lanes: StrideQueue<Lane<R>> = new StrideQueue<Lane<R>>();
  /** The number of lanes that were asked for. */
  asked = 0;
  /** Called when nothing is runnable; null: nothing has to be done then. */
  whenIdle: (() => void) | null = null;

  constructor(root: Level<R>) {
    this.root = root;
  }

  /** The next entry, if any. */
  get first(): R | undefined {
    return this.root.resumed.first ?? this.next?.level.first;
  }

  /** Removes and returns the next entry. */
  shift(): R | undefined {
    const promoted = this.root.resumed.shift();
    if (promoted !== undefined) return promoted;
    const lane = this.next;
    if (lane === undefined) return undefined;
    this.lanes.serve(lane);
    return lane.level.shift();
  }

  /** The lane whose turn it is, if nothing has been promoted; undefined: none has entries. */
  get next(): Lane<R> | undefined {
    for (let lane = this.lanes.first; lane !== undefined; lane = this.lanes.first) {
      if (lane.level.first !== undefined) return lane;
      this.lanes.leave(lane);
    }
    this.whenIdle?.();
    return undefined;
  }

  /** The levels of the lanes that may have entries, in the order of their turns. */
  levels(): Level<R>[] {
    return this.lanes.inOrder().map(({ level }) => level);
  }
}

/**
 * Gives a new workqueue its level.
 *
 * @param shares - undefined: it was not acquired with shares
 */
export function joinLevel(wq: Workqueue, shares: number | undefined): void {
  const { _dispatcher: dispatcher, priority } = wq;
  const root = dispatcher.runq.level(priority);
  if (shares !== undefined && root.group === null) share(dispatcher, root);
  if (wq._home._freed) wq._home = wq;
  if (root.group === null) moveTo(wq, root, null);
  else if (wq._home === wq) addLane(wq, root.group, shares);
  else shareLane(wq);
}

/** Called when a workqueue has been freed. */
export function leaveLevel({ _dispatcher: dispatcher, _lane: lane }: Workqueue): void {
  if (lane === null || --lane.members > 0 || !lane.asked) return;
  const { group } = lane;
  if (--group.asked > 0) return;
  group.whenIdle = () => unshare(dispatcher, group);
  // What may be idle already.
  void group.first;
}

/** Gives each workqueue of a level a lane, and moves the entries there. */
function share(dispatcher: Dispatcher, root: Level<Kcont<unknown>>): void {
  const group = new ShareGroup(root);
  const members = Array.from(dispatcher.queues).filter(({ _level: level }) => level === root);
  for (const wq of members) {
    if (wq._home._freed) wq._home = wq;
    if (wq._home === wq) addLane(wq, group);
  }
  for (const wq of members) if (wq._home !== wq) shareLane(wq);
  for (const list of [root.resumed, root.timed, root.direct]) {
    for (const kc of list) {
      const { _level: level } = kc._wq;
      if (level.root !== root) {
        // What a lock has promoted, or what has inherited the priority, stays in front of the lanes.
        if (list !== root.resumed) {
          unlink(kc);
          stamp(kc);
          root.resumed.push(kc);
        }
        continue;
      }
      unlink(kc);
      if (list === root.resumed) level.addResumed(kc);
      else if (list === root.timed) level.addTimer(kc);
      else level.direct.push(kc);
      level.lane?.join();
    }
  }
  root.beginSharing(group);
}

function addLane(wq: Workqueue, group: ShareGroup<Kcont<unknown>>, shares?: number): void {
  const lane = new Lane(group, shares);
  if (lane.asked) {
    group.asked++;
    group.whenIdle = null;
  }
  moveTo(wq, lane.level, lane);
}

/** A private workqueue of the same priority counts as the one that it was made of. */
function shareLane(wq: Workqueue): void {
  const { _level: level, _lane: lane } = wq._home;
  moveTo(wq, level, lane);
}

function moveTo(
  wq: Workqueue,
  level: Level<Kcont<unknown>>,
  lane: Lane<Kcont<unknown>> | null,
): void {
  const { root } = level;
  level.leastPatienceMs = Math.min(level.leastPatienceMs, wq.patienceMs);
  root.leastPatienceMs = Math.min(root.leastPatienceMs, wq.patienceMs);
  wq._level = level;
  wq._lane = lane;
  wq._isPlain = lane === null && wq._handler === undefined;
  if (lane !== null) lane.members++;
}

/** Gives up the lanes of a level that has no entries. */
function unshare(dispatcher: Dispatcher, group: ShareGroup<Kcont<unknown>>): void {
  group.root.endSharing();
  for (const wq of dispatcher.queues) {
    if (wq._lane?.group === group) moveTo(wq, group.root, null);
  }
}

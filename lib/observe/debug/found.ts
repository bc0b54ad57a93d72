/*
 * What debug mode says about what it has found. The text is made only for what is reported.
 */

import type { Kcont } from '../../core/kcont.ts';
import { label } from '../../core/schedule.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { lockLabel } from '../list-entry.ts';
import { creationOf } from './creations.ts';
import { detail } from './debug-tap.ts';
import type { Finding } from './finding.ts';
import { blockersOf, ownerTitle, type Holding, type Owner, type Wait } from './owners.ts';
import { atSite, siteText, type Site } from './sites.ts';
import type { Step } from './wait-graph.ts';

/** How many holders are described. */
const MOST_HOLDERS = 5;

/** A finding, without what is known when it is reported. @internal */
export type Found = Omit<Finding, 'atMs' | 'suppressed'>;

/** What is said of all that has not settled. @internal */
export const END = ': the event loop is empty, and the process exits';

/** Where the continuation of an owner was created. @internal */
export function createdAt({ kc }: Owner): Site | undefined {
  return kc === null ? undefined : creationOf(kc);
}

/** Describes one wait of a deadlock. @internal */
export function detailsOfStep(
  { wait: { lock, owner, site } }: Step,
  at: number,
  all: Step[],
): string[] {
  const title = ownerTitle(owner);
  const before = all.at(at - 1) as Step;
  const held = before.wait.lock;
  const holding = held === null ? undefined : blockersOf(held).find((one) => one.owner === owner);
  const what = lock === null ? 'halt()' : `lock ${lockLabel(lock)}`;
  const has = holding === undefined ? [] : [`${title} ${hasEntered(holding)}`];
  const made = owner === null ? undefined : createdAt(owner);
  return [`${title} waits for ${what}${atSite(site)}${atSite(made, ', created at ')}`, ...has];
}

/** Says how an owner came by a lock. @internal */
export function hasEntered({ lock, owner, site }: Holding): string {
  const name = lockLabel(lock);
  // What has no owner is called after the place.
  if (owner === null) return `holds lock ${name}`;
  return site === undefined
    ? `holds lock ${name}, because it is the lock of the continuation`
    : `holds lock ${name}, which it has entered${atSite(site)}`;
}

/** What can be done about a deadlock. @internal */
export function remedyFor(circle: readonly Step[]): string {
  const [{ wait }] = circle as readonly [Step, ...Step[]];
  if (circle.length > 1) {
    return 'Enter locks in the same order everywhere; or limit the wait, as in lock.enter({ signal: AbortSignal.timeout(1000) }).';
  }
  if (wait.lock === null)
    return 'A function cannot wait for its own end. Call stop(), or drainAsync() with what is to follow.';
  return 'Locks are not recursive. Do not enter a lock again, nor the lock of the continuation in its function.';
}

/** What code waits for, in words. @internal */
export function whatFor({ lock, kc }: Wait): string {
  if (lock === null) return `in halt() of ${label(kc as Kcont<unknown>)}`;
  const by = blockersOf(lock).map(({ owner, site }) => ownerTitle(owner, site));
  const held = by.length === 0 ? '' : `, held by ${some(by)}`;
  return `for lock ${lockLabel(lock)}${held}`;
}

function some(names: readonly string[]): string {
  if (names.length <= MOST_HOLDERS) return names.join(', ');
  return `${names.slice(0, MOST_HOLDERS).join(', ')} and ${names.length - MOST_HOLDERS} more`;
}

/** A continuation has waited for its lock for long. @internal */
export function longWait(kc: Kcont<unknown>, title: string): Found {
  const lock = kc._lock as BaseLock;
  const by = blockersOf(lock).map(({ owner, site }) => ownerTitle(owner, site));
  const held = by.length === 0 ? '' : `, held by ${some(by)}`;
  const made = creationOf(kc);
  return {
    kind: 'wait',
    message: `${title} for lock ${lockLabel(lock)}${held}`,
    details: [...detail('created', made), ...detailsOfHolders(lock)],
    name: label(kc),
    site: null,
    createdAt: siteText(made),
  };
}

/** Code has waited for long, or will do so for ever. @internal */
export function waitOfCode(kind: 'wait' | 'unsettled', wait: Wait, message: string): Found {
  const { lock, owner, site } = wait;
  const made = owner === null ? undefined : createdAt(owner);
  const about = lock === null ? [] : detailsOfHolders(lock);
  return {
    kind,
    message,
    details: [
      ...(owner === null ? [] : detail('waits', site)),
      ...detail('created', made),
      ...about,
    ],
    name: owner?.name || 'code',
    site: siteText(site),
    createdAt: siteText(made),
  };
}

function detailsOfHolders(lock: BaseLock): string[] {
  const lines: string[] = [];
  for (const holding of blockersOf(lock).slice(0, MOST_HOLDERS)) {
    const { owner, site } = holding;
    const title = ownerTitle(owner, site);
    const made = owner === null ? undefined : createdAt(owner);
    lines.push(`${title} ${hasEntered(holding)}${atSite(made, ', created at ')}`);
    for (const wait of owner?.waits ?? []) {
      lines.push(`${title} itself waits ${whatFor(wait)}${atSite(wait.site)}`);
    }
  }
  return lines;
}

/** A run has not settled. @internal */
export function unsettled(kc: Kcont<unknown>, owner: Owner | undefined): Found {
  const made = creationOf(kc);
  const waits = [...(owner?.waits ?? [])];
  const held = [...(owner?.held ?? [])];
  const waiting =
    waits.length === 0
      ? ['What it awaits is not known: it awaits a promise that nothing settles.']
      : waits.flatMap((one) => [
          `waits ${whatFor(one)}${atSite(one.site)}`,
          ...(one.lock === null ? [] : detailsOfHolders(one.lock)),
        ]);
  return {
    kind: 'unsettled',
    message: `${label(kc)} on ${kc._wq.name} has not settled${END}`,
    details: [...detail('created', made), ...waiting, ...held.map(hasEntered)],
    name: label(kc),
    site: siteText(waits[0]?.site),
    createdAt: siteText(made),
  };
}

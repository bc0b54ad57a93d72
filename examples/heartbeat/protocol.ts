// What a holder of leases says to their keeper, a line each: RENEW lease, RELEASE lease.

/** What the keeper has seen of one lease. */
export interface LeaseRecord {
  readonly lease: string;
  renewals: number;
  /** Renewals that came later after the one before than they should have. */
  late: number;
  /** The longest time between two renewals, in ms. */
  longestMs: number;
  /** How often it expired. */
  lost: number;
  /** Renewals that came after it had been released. */
  afterRelease: number;
}

/** How leases are kept. */
export interface Terms {
  /** A lease that is not renewed for so long is lost, in ms. */
  readonly leaseMs: number;
  /** How often it is renewed, in ms. */
  readonly everyMs: number;
  /** What is later than this after the one before is late, in ms. */
  readonly lateMs: number;
}

/** What the keeper's process says. */
export type FromKeeper =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'held'; readonly leases: number }
  | {
      readonly type: 'report';
      readonly records: readonly LeaseRecord[];
      /** By how much the keeper itself was late, at worst, in ms. */
      readonly lagMs: number;
    };

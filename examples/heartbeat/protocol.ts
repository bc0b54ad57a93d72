// The messages from a holder of leases to the keeper, one per line: RENEW lease, RELEASE lease.

/** The keeper's record of one lease. */
export interface LeaseRecord {
  readonly lease: string;
  renewals: number;
  /** Number of renewals that came too late after the previous one. */
  late: number;
  /** The longest time between two renewals, in ms. */
  longestMs: number;
  /** Number of times it expired. */
  lost: number;
  /** Number of renewals that came after its release. */
  afterRelease: number;
}

/** The timing of leases. */
export interface Terms {
  /** The time after which a lease that is not renewed expires, in ms. */
  readonly leaseMs: number;
  /** The interval of renewals, in ms. */
  readonly everyMs: number;
  /** The time after the previous renewal from which a renewal counts as late, in ms. */
  readonly lateMs: number;
}

/** The messages of the keeper's process. */
export type FromKeeper =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'held'; readonly leases: number }
  | {
      readonly type: 'report';
      readonly records: readonly LeaseRecord[];
      /** The keeper's own worst lateness, in ms. */
      readonly lagMs: number;
    };

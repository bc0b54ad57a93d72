/** The default reason of {@link withTimeout}: the time has passed. @public */
export const E_TIMEOUT: Error = new Error('timeout while waiting for mutex to become available');
/** The default reason of {@link tryAcquire}: it is locked. @public */
export const E_ALREADY_LOCKED: Error = new Error('mutex already locked');
/** The default reason of `cancel`. @public */
export const E_CANCELED: Error = new Error('request for lock canceled');

/*
 * Server and load are separate processes, and their times have to be compared.
 * hrtime counts from the same moment in all processes of a machine; performance.now() does not, but
 * is cheaper to read.
 */
const origin = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Milliseconds on a clock that all processes of this machine share. */
export function sharedNow(): number {
  return origin + performance.now();
}

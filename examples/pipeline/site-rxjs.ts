import {
  EMPTY,
  Observable,
  Subject,
  catchError,
  concatMap,
  defer,
  groupBy,
  lastValueFrom,
  map,
  mergeMap,
  of,
  tap,
} from 'rxjs';
import type { OperatorFunction } from 'rxjs';
import { AT_A_TIME, authenticate, parse, refuse, render, respond, search } from './work.ts';
import type { Exchange, Site } from './work.ts';

export function openRxjsSite(): Site {
  const exchanges = new Subject<Exchange>();
  const authenticated = limited(authenticate, AT_A_TIME);
  const found = limited(search, AT_A_TIME);
  const answered = exchanges.pipe(
    mergeMap((exchange) => of(exchange).pipe(map(parse), refusing(exchange))),
    // A group lives for ever: to end one that is idle, without losing what it is at, takes more lines.
    groupBy((query) => query.user),
    mergeMap((queries) =>
      queries.pipe(
        concatMap((query) =>
          authenticated(query).pipe(
            mergeMap(found),
            map(render),
            tap(respond),
            refusing(query.exchange),
          ),
        ),
      ),
    ),
  );
  const finished = lastValueFrom(answered, { defaultValue: undefined });
  return {
    accept: (exchange) => exchanges.next(exchange),
    close: async () => {
      exchanges.complete();
      await finished;
    },
  };
}

/** mergeMap limits what comes from one source; here there are many, one for each user. */
function limited<In, Out>(
  func: (value: In) => Promise<Out>,
  limit: number,
): (value: In) => Observable<Out> {
  const jobs = new Subject<Observable<unknown>>();
  jobs.pipe(mergeMap((job) => job, limit)).subscribe();
  return (value) =>
    new Observable((subscriber) => {
      const job = defer(() => func(value)).pipe(
        tap(subscriber),
        catchError(() => EMPTY),
      );
      jobs.next(job);
    });
}

/** An error of one request ends that request alone. */
function refusing<T>(exchange: Exchange): OperatorFunction<T, T> {
  return catchError((error: unknown) => {
    refuse(exchange, error);
    return EMPTY;
  });
}

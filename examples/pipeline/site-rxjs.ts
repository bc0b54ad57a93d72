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
    // Groups are never removed: removing an idle one without losing items would take more code.
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

/** Limits a function across all users. mergeMap limits one source only, and each user is a source. */
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

/** Confines an error to its own request. */
function refusing<T>(exchange: Exchange): OperatorFunction<T, T> {
  return catchError((error: unknown) => {
    refuse(exchange, error);
    return EMPTY;
  });
}

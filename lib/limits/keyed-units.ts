/*
 * Functions with state: one state for all calls, or one for each key. The state of a key is freed when it is idle,
 * that is, when a new one would invoke the function at the same times.
 */

/**
 * The state behind a function.
 *
 * @internal
 */
export interface Unit<R> {
  readonly pending: boolean;
  call(self: unknown, args: readonly unknown[]): R;
  flush(): R | undefined;
  cancel(reason?: unknown): void;
  destroy(): void;
}

/**
 * Creates a unit. `idle`, if given, is called when it can be freed.
 *
 * @internal
 */
export type UnitFactory<R> = (idle: (() => void) | undefined) => Unit<R>;

/**
 * Returns a key from the arguments of a call.
 *
 * @internal
 */
export type KeyBy = (...args: unknown[]) => unknown;

/** The function and its methods. */
interface Made<R> {
  (this: unknown, ...args: unknown[]): R | undefined;
  cancel(key?: unknown, reason?: unknown): void;
  flush(key?: unknown): R | undefined;
  pending(key?: unknown): boolean;
  readonly size: number;
  [Symbol.dispose](): void;
}

function define<R>(
  call: (this: unknown, ...args: unknown[]) => R | undefined,
  methods: Omit<Made<R>, 'size'>,
  size: () => number,
): Made<R> {
  Object.defineProperty(call, 'size', { get: size, configurable: true });
  return Object.assign(call, methods) as Made<R>;
}

/**
 * One unit for all calls.
 *
 * @internal
 */
export function single<R>(create: UnitFactory<R>): Made<R> {
  const unit = create(undefined);
  const methods = {
    cancel: (reason?: unknown) => unit.cancel(reason),
    flush: () => unit.flush(),
    pending: () => unit.pending,
    [Symbol.dispose]: () => unit.destroy(),
  };
  const call = function (this: unknown, ...args: unknown[]): R {
    return unit.call(this, args);
  };
  return define(call, methods, () => 1);
}

/**
 * A unit for each key.
 *
 * @param create - creates a unit
 * @param keyBy - returns the key of a call
 * @param refuse - returns the result of a call that gets no unit: because of an error, or after the function was
 * disposed. If it is undefined, the error is thrown, and after a dispose the result is undefined
 *
 * @internal
 */
export function byKey<R>(
  create: UnitFactory<R>,
  keyBy: KeyBy,
  refuse?: (...error: [] | [error: unknown]) => R,
): Made<R> {
  const units = new Map<unknown, Unit<R>>();
  let isDisposed = false;
  const unitOf = (key: unknown): Unit<R> => {
    const found = units.get(key);
    if (found !== undefined) return found;
    const made = create(() => {
      // A call by its own function may have replaced it before it became idle.
      if (units.get(key) === made) units.delete(key);
      made.destroy();
    });
    units.set(key, made);
    return made;
  };
  const chosen = (args: readonly unknown[]): Unit<R>[] => {
    if (args.length === 0) return [...units.values()];
    const found = units.get(args[0]);
    return found === undefined ? [] : [found];
  };
  const methods = {
    cancel: (...args: unknown[]) => {
      for (const unit of chosen(args.slice(0, 1))) unit.cancel(args[1]);
    },
    flush: (...args: unknown[]) => {
      let result: R | undefined;
      for (const unit of chosen(args)) result = unit.flush();
      return args.length === 0 ? undefined : result;
    },
    pending: (...args: unknown[]) => chosen(args).some((unit) => unit.pending),
    [Symbol.dispose]: () => {
      isDisposed = true;
      for (const unit of units.values()) unit.destroy();
      units.clear();
    },
  };
  const call = function (this: unknown, ...args: unknown[]): R | undefined {
    if (isDisposed) return refuse?.();
    let unit: Unit<R>;
    try {
      unit = unitOf(keyBy.apply(this, args));
    } catch (error) {
      if (refuse === undefined) throw error;
      return refuse(error);
    }
    return unit.call(this, args);
  };
  return define(call, methods, () => units.size);
}

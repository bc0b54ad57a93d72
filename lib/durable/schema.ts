/*
 * Standard Schema (https://standardschema.dev, version 1): the interface that zod, valibot, arktype and
 * others implement. Only its types are needed, so nothing is imported.
 */

import { KcontError, isA, show } from '../base/errors.ts';

/**
 * A schema that implements Standard Schema, version 1: of zod, valibot, arktype and others.
 *
 * @typeParam Out - the type of the value that it returns
 *
 * @public
 */
export interface StandardSchema<Out = unknown> {
  /** The properties that the standard defines. */
  readonly '~standard': {
    /** The version of the standard. */
    readonly version: 1;
    /** The name of the library. */
    readonly vendor: string;
    /** Checks a value, and returns the value that the function gets, or what is wrong. */
    readonly validate: (value: unknown) => SchemaResult<Out> | Promise<SchemaResult<Out>>;
    /** Types that exist for the type checker only. */
    readonly types?: { readonly input: unknown; readonly output: Out } | undefined;
  };
}

/**
 * What a schema says about a value.
 *
 * @typeParam Out - the type of the value that it returns
 *
 * @public
 */
export type SchemaResult<Out> =
  | { readonly value: Out; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

/**
 * What is wrong with a value.
 *
 * @public
 */
export interface SchemaIssue {
  /** A text for people. */
  readonly message: string;
  /** Where in the value it is. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/**
 * Whether a value is a schema of this standard.
 *
 * @internal
 */
export function isSchema(value: unknown): value is StandardSchema {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  const standard = (value as Partial<StandardSchema>)['~standard'];
  return standard?.version === 1 && typeof standard.validate === 'function';
}

/**
 * Checks a value, and returns what the schema makes of it.
 *
 * @throws KcontError EINVAL with the issues; ENOTSUP if the schema answers with a promise, and EINVAL if it
 * throws
 *
 * @internal
 */
export function validate(schema: StandardSchema, value: unknown, what: string): unknown {
  let result: SchemaResult<unknown> | Promise<SchemaResult<unknown>>;
  try {
    result = schema['~standard'].validate(value);
    if (typeof (result as { then?: unknown }).then !== 'function') {
      const { issues } = result as SchemaResult<unknown>;
      if (issues === undefined) return (result as { value: unknown }).value;
      throw new KcontError('EINVAL', `${what} does not fit its schema: ${describe(issues)}`);
    }
    // Its answer comes too late, and must not become an unhandled rejection.
    void Promise.resolve(result).catch(() => undefined);
  } catch (error) {
    if (isA(error, KcontError)) throw error;
    throw new KcontError('EINVAL', `the schema of ${what} failed: ${show(error)}`);
  }
  throw new KcontError('ENOTSUP', `the schema of ${what} is asynchronous`);
}

function describe(issues: readonly SchemaIssue[]): string {
  return issues
    .map(({ message, path = [] }) => {
      const keys = path.map((part) => String(typeof part === 'object' ? part.key : part));
      return keys.length === 0 ? message : `${keys.join('.')}: ${message}`;
    })
    .join('; ');
}

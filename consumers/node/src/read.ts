/**
 * Readers check a JSON value and return it with its type. Unknown members of objects are left out.
 *
 * The generated module consists of them: `read.object({ amount: read.integer({ minimum: 1 }) })`.
 */

import { characters, UNPAIRED } from './characters.ts';

/**
 * A value doesn't have the expected form. The message names the member (`data.amount is not an integer`) and never
 * contains the value, so it may be logged. Reading the value again fails in the same way.
 */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
  /** The path of the member, such as `data.lines[0].sku`. */
  readonly member: string;
  /** What is wrong with it, such as `is missing`. */
  readonly problem: string;

  constructor(member: string, problem: string) {
    super(`${member} ${problem}`);
    this.member = member;
    this.problem = problem;
  }
}

/**
 * Reads a value of type `T`.
 *
 * @param value - The value as `JSON.parse` returns it.
 * @param member - The path of the value, for the error.
 * @throws {@link DecodeError} if the value doesn't have the type.
 */
export type Reader<T> = (value: unknown, member: string) => T;

/** A reader of a member that may be absent. */
export interface OptionalReader<T> {
  readonly optional: Reader<T>;
}

/** The readers of an object's members. */
export type MemberReaders<T> = {
  readonly [Name in keyof T]-?: undefined extends T[Name]
    ? OptionalReader<Exclude<T[Name], undefined>> | Reader<T[Name]>
    : Reader<T[Name]>;
};

/** Limits of a string. Lengths are in Unicode characters. */
export interface StringLimits {
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: RegExp;
}

/** Limits of a number, both inclusive. */
export interface NumberLimits {
  readonly minimum?: number;
  readonly maximum?: number;
}

/** Limits of a list's length, both inclusive. */
export interface ListLimits {
  readonly minItems?: number;
  readonly maxItems?: number;
}

/** A string of Unicode characters. */
export function string(limits: StringLimits = {}): Reader<string> {
  return (value, member) => {
    if (typeof value !== 'string') throw new DecodeError(member, 'is not a string');
    if (!value.isWellFormed()) throw new DecodeError(member, UNPAIRED);
    if (limits.minLength !== undefined || limits.maxLength !== undefined) {
      const length = characters(value);
      if (length < (limits.minLength ?? 0)) {
        throw new DecodeError(member, `has less than ${limits.minLength} characters`);
      }
      if (length > (limits.maxLength ?? Number.POSITIVE_INFINITY)) {
        throw new DecodeError(member, `has more than ${limits.maxLength} characters`);
      }
    }
    if (limits.pattern && !limits.pattern.test(value)) {
      throw new DecodeError(member, `doesn't match ${limits.pattern.source}`);
    }
    return value;
  };
}

/** An integer from -(2^53-1) to 2^53-1. Each of them has an exact representation as a `number`. */
export function integer(limits: NumberLimits = {}): Reader<number> {
  return (value, member) => {
    if (!Number.isSafeInteger(value)) {
      throw new DecodeError(member, 'is not an integer from -(2^53-1) to 2^53-1');
    }
    return within(value as number, limits, member);
  };
}

/** A number, which may have a fraction. */
export function number(limits: NumberLimits = {}): Reader<number> {
  return (value, member) => {
    if (typeof value !== 'number' || !Number.isFinite(value)) throw new DecodeError(member, 'is not a number');
    return within(value, limits, member);
  };
}

/** `true` or `false`. */
export function boolean(): Reader<boolean> {
  return (value, member) => {
    if (typeof value !== 'boolean') throw new DecodeError(member, 'is not a boolean');
    return value;
  };
}

/** One of these values. */
export function literal<const T extends readonly (string | number | boolean | null)[]>(
  ...values: T
): Reader<T[number]> {
  return (value, member) => {
    if (!values.includes(value as T[number])) {
      throw new DecodeError(member, `is not ${values.map((known) => JSON.stringify(known)).join(' or ')}`);
    }
    return value as T[number];
  };
}

/** A list whose items have one type. */
export function list<T>(item: Reader<T>, limits: ListLimits = {}): Reader<readonly T[]> {
  return (value, member) => {
    if (!Array.isArray(value)) throw new DecodeError(member, 'is not a list');
    if (value.length < (limits.minItems ?? 0)) {
      throw new DecodeError(member, `has less than ${limits.minItems} items`);
    }
    if (value.length > (limits.maxItems ?? Number.POSITIVE_INFINITY)) {
      throw new DecodeError(member, `has more than ${limits.maxItems} items`);
    }
    return value.map((entry, index) => item(entry, `${member}[${index}]`));
  };
}

/** An object with these members. Others are ignored. */
export function object<T extends object>(members: MemberReaders<T>): Reader<T> {
  const readers = Object.entries(members) as [string, Reader<unknown> | OptionalReader<unknown>][];
  return (value, member) => {
    const source = anObject(value, member);
    const result: Record<string, unknown> = {};
    for (const [name, reader] of readers) {
      const path = `${member}.${name}`;
      if (Object.hasOwn(source, name)) {
        result[name] = (typeof reader === 'function' ? reader : reader.optional)(source[name], path);
      } else if (typeof reader === 'function') {
        throw new DecodeError(path, 'is missing');
      }
    }
    return result as T;
  };
}

/** An object whose members have any names and one type. */
export function map<T>(item: Reader<T>): Reader<Readonly<Record<string, T>>> {
  return (value, member) =>
    // The name of a member is data, so the error doesn't contain it.
    Object.fromEntries(
      Object.entries(anObject(value, member)).map(([name, entry]) => {
        if (!name.isWellFormed()) throw new DecodeError(`${member}.*`, `${UNPAIRED} in its name`);
        return [name, item(entry, `${member}.*`)];
      }),
    );
}

/** A member that may be absent. It is never `null`. */
export function optional<T>(reader: Reader<T>): OptionalReader<T> {
  return { optional: reader };
}

/** A value that one of these readers accepts. The first one that does reads it. */
export function oneOf<T extends readonly unknown[]>(
  ...readers: { readonly [Index in keyof T]: Reader<T[Index]> }
): Reader<T[number]> {
  return (value, member) => {
    for (const reader of readers) {
      try {
        return reader(value, member);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
      }
    }
    throw new DecodeError(member, 'has none of the allowed forms');
  };
}

/** Any value. Its strings consist of Unicode characters. */
export function any(): Reader<unknown> {
  return (value, member) => {
    refuseUnpaired(value, member);
    return value;
  };
}

function refuseUnpaired(value: unknown, member: string): void {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new DecodeError(member, UNPAIRED);
  } else if (Array.isArray(value)) {
    for (const item of value) refuseUnpaired(item, member);
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, entry] of Object.entries(value)) {
      refuseUnpaired(name, member);
      refuseUnpaired(entry, member);
    }
  }
}

function within(value: number, { minimum, maximum }: NumberLimits, member: string): number {
  if (minimum !== undefined && value < minimum) throw new DecodeError(member, `is less than ${minimum}`);
  if (maximum !== undefined && value > maximum) throw new DecodeError(member, `is more than ${maximum}`);
  return value;
}

function anObject(value: unknown, member: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DecodeError(member, 'is not an object');
  }
  return value as Record<string, unknown>;
}

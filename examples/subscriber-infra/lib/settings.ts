/** The settings of the app, and their allowed values. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

/** The services that can be deployed. They do the same in different languages. */
export const SUBSCRIBERS = ['python', 'node', 'rust'] as const;

export interface Settings {
  /** Which service is deployed. */
  readonly subscriber: (typeof SUBSCRIBERS)[number];
  /** The folder with the function's code, as an absolute path. */
  readonly code: string;
  /** The ARN of the domain stream. */
  readonly streamArn: string;
  /** The ARN of the stream's customer-managed key. */
  readonly streamKeyArn: string | undefined;
  /** How many hours the stream retains an event. */
  readonly retentionHours: number | undefined;
  /** Whether the function reads the stream. */
  readonly subscribe: boolean;
  /** The time from which on the events are read, in RFC 3339. */
  readonly startAt: string | undefined;
  /** The balance below which an account gets a notification, in minor units. */
  readonly lowBalance: string;
  /** The processor architecture for which the code was built. */
  readonly architecture: 'arm64' | 'x86_64';
  /** What happens to the tables and the failure bucket when the stack is deleted. */
  readonly removalPolicy: 'retain' | 'destroy';
}

/** The error of an invalid setting. The message names the setting and the allowed values. */
export class SettingError extends Error {}

/** Reads all settings. `lookup` finds a setting's raw value by its name. */
export function readSettings(lookup: (name: string) => unknown): Settings {
  const text = (name: string) => {
    const value = lookup(name);
    return value === undefined || value === null ? undefined : String(value);
  };
  const required = (name: string, allowed: string) => {
    const value = text(name);
    if (value === undefined) throw refused(name, value, allowed);
    return value;
  };
  const oneOf = <const T extends string>(name: string, allowed: readonly T[], fallback?: T): T => {
    const value = text(name) ?? fallback;
    const found = allowed.find((it) => it === value);
    if (found === undefined) throw refused(name, value, `one of ${allowed.join(', ')}`);
    return found;
  };
  const integer = (name: string) => {
    const value = text(name);
    if (value !== undefined && !/^0*[1-9]\d{0,15}$/.test(value)) throw refused(name, value, 'an integer from 1 on');
    return value;
  };

  const subscriber = oneOf('subscriber', SUBSCRIBERS);
  const code = resolve(required('code', "the folder with the function's code"));
  if (!existsSync(code)) throw refused('code', code, 'a folder that exists: build the service first');
  const retentionHours = integer('retentionHours');
  return {
    subscriber,
    code,
    streamArn: required('streamArn', 'the ARN of the domain stream, the output StreamArn of Millrace'),
    streamKeyArn: text('streamKeyArn'),
    retentionHours: retentionHours === undefined ? undefined : Number(retentionHours),
    subscribe: oneOf('subscribe', ['true', 'false'], 'true') === 'true',
    startAt: text('startAt'),
    lowBalance: integer('lowBalance') ?? '10000',
    architecture: oneOf('architecture', ['arm64', 'x86_64'], 'arm64'),
    removalPolicy: oneOf('removalPolicy', ['retain', 'destroy'], 'retain'),
  };
}

function refused(name: string, value: string | undefined, allowed: string): SettingError {
  const given = value === undefined ? 'is missing' : `is ${JSON.stringify(value)}`;
  return new SettingError(`Setting "${name}" ${given}; allowed: ${allowed}. Set it with -c ${name}=VALUE.`);
}

/** The settings of the function, which the deployment sets as environment variables. */
export interface Config {
  /** The table of the positions, with the partition key `Subject` (S). */
  readonly positionsTable: string;
  /** The table of the notifications, with the key `Account` (S) and `Sequence` (N). */
  readonly notificationsTable: string;
  /** The table of the undecodable records, with the partition key `StreamId` (S). */
  readonly undecodableTable: string;
  /** A balance below this threshold is low. In minor units of the account's currency. */
  readonly lowBalance: number;
}

const DEFAULT_LOW_BALANCE = '10000';

/**
 * Reads the settings, once when the function starts.
 *
 * @throws Error that names the variable which is missing or wrong. Lambda then reports that the function doesn't start.
 */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const required = (name: string): string => {
    const value = environment[name];
    if (value === undefined || value === '') throw new Error(`The environment variable ${name} is missing`);
    return value;
  };
  const lowBalance = environment.LOW_BALANCE ?? DEFAULT_LOW_BALANCE;
  if (!/^[1-9][0-9]*$/.test(lowBalance) || !Number.isSafeInteger(Number(lowBalance))) {
    throw new Error('The environment variable LOW_BALANCE is not an integer from 1 to 2^53-1');
  }
  return {
    positionsTable: required('POSITIONS_TABLE'),
    notificationsTable: required('NOTIFICATIONS_TABLE'),
    undecodableTable: required('UNDECODABLE_TABLE'),
    lowBalance: Number(lowBalance),
  };
}

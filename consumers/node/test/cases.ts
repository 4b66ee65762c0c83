/** The cases that all languages share: ../../cases.json. */
import { readFileSync } from 'node:fs';
import { type EventTypes, type KinesisEvent, type Logger, read } from '../src/index.ts';

export interface DecodeCase {
  name: string;
  data?: string;
  dataBase64?: string;
  event?: Record<string, unknown>;
  unknown?: Record<string, unknown>;
  undecodable?: true;
}

export type CaseRecord =
  | { event: string }
  | { unknownType: string }
  | { unknownVersion: string }
  | { undecodable: string }
  | { unusable: true };

export interface BatchCase {
  name: string;
  before: Record<string, number>;
  gapsBefore: Record<string, { missing: number; seen: number }>;
  records: CaseRecord[];
  failing: string[];
  failingSaves: string[];
  failingUndecodable: number[];
  applied: string[];
  after: Record<string, number>;
  gaps: Record<string, { missing: number; seen: number }>;
  undecodable: number[];
  failure: number | null;
}

interface Cases {
  source: string;
  knownTypes: string[];
  gate: { applied: number; event: number; result: string; missing?: number }[];
  decode: DecodeCase[];
  batches: BatchCase[];
}

export const cases: Cases = JSON.parse(readFileSync(new URL('../../cases.json', import.meta.url), 'utf8'));

export const types = {
  'AccountCreated:1': read.object<{ currency: string }>({ currency: read.string() }),
  'BalanceCredited:1': read.object<{ amount: number; currency: string }>({
    amount: read.integer(),
    currency: read.string(),
  }),
  'BalanceWithdrawn:1': read.object<{ amount: number; currency: string }>({
    amount: read.integer(),
    currency: read.string(),
  }),
} satisfies EventTypes;

/** Lambda's event of a case. */
export function batchOf(records: CaseRecord[]): KinesisEvent {
  return {
    Records: records.map((record, position) => {
      const bytes = bytesOf(record);
      return {
        eventID: `shardId-000000000000:${100 + position}`,
        kinesis: {
          sequenceNumber: String(100 + position),
          ...(bytes === undefined ? {} : { data: Buffer.from(bytes).toString('base64') }),
        },
      };
    }),
  };
}

function bytesOf(record: CaseRecord): string | undefined {
  if ('unusable' in record) return undefined;
  if ('undecodable' in record) return record.undecodable;
  if ('unknownType' in record) return envelope(record.unknownType, 'InterestPaid', 1, { interest: 1 });
  if ('unknownVersion' in record) return envelope(record.unknownVersion, 'BalanceCredited', 2, { cents: 1 });
  const [, sequence] = parts(record.event);
  return sequence === 1
    ? envelope(record.event, 'AccountCreated', 1, { currency: 'EUR' })
    : envelope(record.event, 'BalanceCredited', 1, { amount: sequence, currency: 'EUR' });
}

function parts(id: string): [string, number] {
  const colon = id.lastIndexOf(':');
  return [id.slice(0, colon), Number(id.slice(colon + 1))];
}

function envelope(id: string, type: string, version: number, data: Record<string, unknown>): string {
  const [subject, sequence] = parts(id);
  return JSON.stringify({
    specversion: '1.0',
    id,
    source: cases.source,
    type,
    subject,
    time: '2026-11-20T21:03:05.123Z',
    datacontenttype: 'application/json',
    dataschema: `urn:millrace:schema:${type}:${version}`,
    data: { accountId: subject, sequence, ...data },
  });
}

/** Keeps all lines. */
export class MemoryLogger implements Logger {
  readonly lines: string[] = [];
  #log(level: string, message: string, fields: object): void {
    this.lines.push(JSON.stringify({ level, message, ...fields }));
  }
  info(message: string, fields: object): void {
    this.#log('INFO', message, fields);
  }
  warn(message: string, fields: object): void {
    this.#log('WARN', message, fields);
  }
  error(message: string, fields: object): void {
    this.#log('ERROR', message, fields);
  }
}

/** Drops all lines. */
export const silent: Logger = { info() {}, warn() {}, error() {} };

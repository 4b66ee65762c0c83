/**
 * Where the library logs: one line per batch, and one per record that needs attention.
 *
 * The fields contain counts, Lambda's record ids (`eventId`), reasons, and the names of errors with the places in the
 * code where they were thrown. They never contain aggregate ids, payloads or the messages of a handler's errors.
 */
export interface Logger {
  info(message: string, fields: LogFields): void;
  warn(message: string, fields: LogFields): void;
  error(message: string, fields: LogFields): void;
}

/** The fields of a log line. */
export type LogFields = Readonly<Record<string, string | number | readonly string[] | undefined>>;

/** Writes each line as one JSON object with `console`. */
export const consoleLogger: Logger = {
  info: (message, fields) => console.info(JSON.stringify({ level: 'INFO', message, ...fields })),
  warn: (message, fields) => console.warn(JSON.stringify({ level: 'WARN', message, ...fields })),
  error: (message, fields) => console.error(JSON.stringify({ level: 'ERROR', message, ...fields })),
};

/** The most lines of a stack that are logged. */
const MAX_STACK = 10;

/** The name of an error and where it was thrown. Its message may contain what must not be logged. */
export function errorFields(error: unknown): LogFields {
  if (!(error instanceof Error)) return { error: typeof error };
  const stack = (error.stack ?? '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .slice(0, MAX_STACK)
    .map((line) => line.trim());
  return { error: error.name, stack };
}

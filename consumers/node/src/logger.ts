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

/**
 * Writes each line to stdout as one JSON object. It doesn't use `console`: Lambda's runtime adds a prefix to the text of
 * `console`, or makes it a string within another JSON object, so a metric filter for JSON wouldn't match the fields.
 * https://docs.aws.amazon.com/lambda/latest/dg/nodejs-logging.html
 */
export const stdoutLogger: Logger = {
  info: (message, fields) => writeLine('INFO', message, fields),
  warn: (message, fields) => writeLine('WARN', message, fields),
  error: (message, fields) => writeLine('ERROR', message, fields),
};

function writeLine(level: string, message: string, fields: LogFields): void {
  process.stdout.write(`${JSON.stringify({ level, message, ...fields })}\n`);
}

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

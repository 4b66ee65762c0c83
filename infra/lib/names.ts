/**
 * The names that programs outside this app rely on, each with a description for the console.
 *
 * `names.json` is the only list of them. The functions' names are those of their binaries and artifact
 * folders. The domain adds outputs of its own (`domain.ts`).
 */
import names from './names.json' with { type: 'json' };

export type OutputName = keyof typeof names.outputs;
export type FunctionName = keyof typeof names.functions;

/** Descriptions of the stack's outputs, by name. */
export const OUTPUTS: Readonly<Record<OutputName, string>> = names.outputs;

/** Descriptions of the functions, by name. */
export const FUNCTIONS: Readonly<Record<FunctionName, string>> = names.functions;

export const OUTPUT_NAMES = Object.keys(OUTPUTS) as readonly OutputName[];
export const FUNCTION_NAMES = Object.keys(FUNCTIONS) as readonly FunctionName[];

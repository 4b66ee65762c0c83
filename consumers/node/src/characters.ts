/** The problem of a string such as `"\ud800"`: JSON can express it, but it is no text, and has no bytes in UTF-8. */
export const UNPAIRED = 'contains an unpaired surrogate';

/** The length of a string in Unicode characters; `length` counts some of them twice. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

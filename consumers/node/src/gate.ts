/** The result of the sequence gate for one event. */
export type Gate =
  /** The event comes next: apply it. */
  | { readonly result: 'next' }
  /** The event was applied before: skip it. */
  | { readonly result: 'duplicate' }
  /** The events from `missing` on haven't arrived: hold the event. */
  | { readonly result: 'gap'; readonly missing: number };

/**
 * Compares the sequence of an event with the last applied one. This is the sequence gate.
 *
 * @param applied - The sequence of the last applied event of the aggregate, 0 if there is none. At most 2^53-1.
 * @param event - The sequence of the event, 1 to 2^53-1.
 */
export function check(applied: number, event: number): Gate {
  if (event <= applied) return { result: 'duplicate' };
  if (event === applied + 1) return { result: 'next' };
  return { result: 'gap', missing: applied + 1 };
}

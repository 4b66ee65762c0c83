/** The handler returned no valid change. The message contains nothing of the event or the state, so it is logged. */
export class InvalidChange extends Error {
  override readonly name = 'InvalidChange';
}

/**
 * The state as JSON; `undefined` if there is none.
 *
 * @throws {@link InvalidChange} if the handler wouldn't get the same state back.
 */
export function stateText(state: unknown): string | undefined {
  if (state === undefined || state === null) return undefined;
  let text: string | undefined;
  try {
    text = JSON.stringify(state);
  } catch (cause) {
    // A cycle, a bigint, or a toJSON that throws.
    throw new InvalidChange("the state can't be written as JSON", { cause });
  }
  refuseLosses(state);
  return text;
}

/** Refuses what JSON leaves out or changes. The messages name no members: their names may be data. */
function refuseLosses(value: unknown): void {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return;
    case 'number':
      if (Number.isFinite(value)) return;
      throw new InvalidChange('the state contains NaN or an infinite number, which JSON replaces by null');
    case 'object':
      break;
    default:
      throw new InvalidChange(`the state contains a value of the type ${typeof value}, which JSON doesn't have`);
  }
  if (value === null) return;
  if (Array.isArray(value)) {
    // Array.from also returns the holes of a list.
    for (const item of Array.from(value)) refuseLosses(item);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // The comparison with Object.prototype would refuse objects of another realm, which test runners create.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw new InvalidChange('the state contains an object of a class, such as a Map, a Set or a Date');
  }
  for (const member of Object.values(value)) if (member !== undefined) refuseLosses(member);
}

import { setTimeout } from 'node:timers/promises';

/** The longest pause before the second attempt; it doubles with each further attempt. */
const BASE_MILLIS = 20;
const MAX_MILLIS = 500;

type Sleep = (millis: number) => Promise<void>;

let sleep: Sleep = (millis) => setTimeout(millis);

/**
 * Waits before an attempt. The jitter keeps two invocations from meeting again.
 *
 * @param attempt - From 1 on for the first repetition.
 */
export async function pauseBefore(attempt: number): Promise<void> {
  await sleep(Math.random() * Math.min(MAX_MILLIS, BASE_MILLIS * 2 ** (attempt - 1)));
}

/** Replaces the clock of all pauses. The hostile feed uses it, so that a test doesn't wait. */
export function replaceSleep(replace: (sleep: Sleep) => Sleep): void {
  sleep = replace(sleep);
}

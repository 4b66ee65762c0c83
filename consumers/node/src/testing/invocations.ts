import { AsyncLocalStorage } from 'node:async_hooks';
import { clearTimeout, setTimeout } from 'node:timers';
import { setImmediate } from 'node:timers/promises';
import { replaceSleep } from '../pause.ts';
import type { Random } from './random.ts';

/** The hostile feed killed the invocation. A handler can do nothing about it: the invocation has failed. */
export class Killed extends Error {
  override readonly name = 'Killed';
  constructor() {
    super('The hostile feed killed the invocation');
  }
}

/** A call of a service failed, perhaps after it took effect, and the invocation goes on. */
export class ServiceUnavailable extends Error {
  override readonly name = 'ServiceUnavailable';
  constructor() {
    super('The hostile feed made the call fail');
  }
}

/** A fault of an invocation at one of its calls. */
export interface CallFault {
  readonly kind: 'kill' | 'fail';
  /** The number of the call, from 1 on. */
  readonly call: number;
  /** Whether the call takes effect before the fault. */
  readonly isAfter: boolean;
}

/** How an invocation ended. */
export type Outcome =
  | { readonly kind: 'returned'; readonly response: unknown }
  | { readonly kind: 'threw'; readonly error: unknown }
  | { readonly kind: 'killed' };

/** One invocation of the handler. */
export interface Invocation {
  /** `undefined` while it runs. */
  outcome: Outcome | undefined;
  isKilled: boolean;
  calls: number;
  readonly fault: CallFault | undefined;
  /** The number of calls after which it makes no progress until {@link isFrozen} is set to false; 0 for never. */
  freezeAfter: number;
  isFrozen: boolean;
  /** The fault, if it happened. */
  happened: CallFault | undefined;
  readonly scheduler: Invocations;
}

/** A call that waits for its turn. */
interface PendingCall {
  readonly invocation: Invocation;
  readonly execute: () => Promise<void>;
  readonly reject: (error: Error) => void;
}

/** The invocation that the current code belongs to. */
const current = new AsyncLocalStorage<Invocation>();

// A pause of the consumer doesn't take time in an invocation of the feed. It only lets other invocations go on.
replaceSleep((sleep) => (millis) => {
  const invocation = current.getStore();
  return invocation ? invocation.scheduler.pause(invocation) : sleep(millis);
});

/** Runs invocations at the same time: in each step, one call of one of them, which the seed chooses. */
export class Invocations {
  readonly #random: Random;
  readonly #idleMillis: number;
  #pending: PendingCall[] = [];
  #onProgress: () => void = () => {};
  #hasCalls = false;

  /** Whether an invocation has made a wrapped call. */
  get hasCalls(): boolean {
    return this.#hasCalls;
  }

  /** @param idleMillis - How long an invocation may make no wrapped call and not return. */
  constructor(random: Random, idleMillis: number) {
    this.#random = random;
    this.#idleMillis = idleMillis;
  }

  /** See `HostileFeed.wrap`. */
  wrap<T extends object>(target: T): T {
    return new Proxy(target, {
      // Private members of the target are only readable with the target itself as `this`.
      get: (_, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function' || typeof name === 'symbol' || name === 'constructor') return value;
        return (...args: unknown[]) => this.#call(() => Reflect.apply(value, target, args));
      },
      set: (_, name, value) => Reflect.set(target, name, value, target),
      apply: (_, self, args) => this.#call(() => Reflect.apply(target as () => unknown, self, args)),
    });
  }

  /** Starts an invocation. It runs until its first wrapped call. */
  start(handler: () => Promise<unknown>, fault: CallFault | undefined, freezeAfter: number): Invocation {
    const invocation: Invocation = {
      outcome: undefined,
      isKilled: false,
      calls: 0,
      fault,
      freezeAfter,
      isFrozen: false,
      happened: undefined,
      scheduler: this,
    };
    const end = (outcome: Outcome): void => {
      invocation.outcome = invocation.isKilled ? { kind: 'killed' } : outcome;
      this.#onProgress();
    };
    current.run(invocation, () => {
      Promise.resolve()
        .then(handler)
        .then(
          (response) => end({ kind: 'returned', response }),
          (error: unknown) => end({ kind: 'threw', error }),
        );
    });
    return invocation;
  }

  /**
   * Runs all invocations until these have ended.
   *
   * @returns false if one of them neither returns nor makes a wrapped call.
   */
  async runUntilEnded(invocations: readonly Invocation[]): Promise<boolean> {
    for (;;) {
      // All code that doesn't wait for a wrapped call runs first.
      await setImmediate();
      for (const invocation of invocations) {
        // It may wait for anything; it is over.
        if (invocation.isKilled) invocation.outcome ??= { kind: 'killed' };
      }
      if (invocations.every(({ outcome }) => outcome)) return true;
      const ready = this.#pending.filter(({ invocation }) => !invocation.isFrozen);
      if (ready.length > 0) {
        const call = this.#random.pick(ready);
        this.#pending.splice(this.#pending.indexOf(call), 1);
        await call.execute();
      } else if (!(await this.#progress())) {
        return false;
      }
    }
  }

  /** Waits as the consumer does between two attempts. */
  pause(invocation: Invocation): Promise<void> {
    return this.#enqueue(invocation, async () => {}, false);
  }

  async #progress(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const isProgress = await new Promise<boolean>((resolve) => {
      this.#onProgress = () => resolve(true);
      timer = setTimeout(() => resolve(false), this.#idleMillis);
    });
    clearTimeout(timer);
    return isProgress;
  }

  #call(operation: () => unknown): unknown {
    const invocation = current.getStore();
    // Code outside of invocations, such as the preparation of a test.
    if (invocation?.scheduler !== this) return operation();
    this.#hasCalls = true;
    return this.#enqueue(invocation, async () => operation(), true);
  }

  #enqueue<T>(invocation: Invocation, operation: () => Promise<T>, isService: boolean): Promise<T> {
    return new Promise((resolve, reject) => {
      if (invocation.isKilled) {
        reject(new Killed());
        return;
      }
      const execute = async (): Promise<void> => {
        if (isService) {
          invocation.calls += 1;
          if (invocation.calls === invocation.freezeAfter) invocation.isFrozen = true;
        }
        const { fault } = invocation;
        const isFault = isService && fault?.call === invocation.calls;
        if (isFault) invocation.happened = fault;
        const fail = (): void => {
          if (fault?.kind === 'kill') {
            this.#kill(invocation);
            reject(new Killed());
          } else {
            reject(new ServiceUnavailable());
          }
        };
        if (isFault && !fault.isAfter) {
          fail();
          return;
        }
        try {
          const result = await operation();
          if (isFault) fail();
          else resolve(result);
        } catch (error) {
          if (isFault) fail();
          else reject(error);
        }
      };
      this.#pending.push({ invocation, execute, reject });
      this.#onProgress();
    });
  }

  /** Ends an invocation: all of its calls fail from now on. */
  #kill(invocation: Invocation): void {
    invocation.isKilled = true;
    const calls = this.#pending.filter((call) => call.invocation === invocation);
    this.#pending = this.#pending.filter((call) => call.invocation !== invocation);
    for (const { reject } of calls) reject(new Killed());
  }
}

import { setMaxListeners } from "node:events"
import type { Logger } from "../api/logger.js"
import { RetryPause } from "./retry-pause.js"
import { guardLogger } from "./safe-logger.js"
import { Sleeper } from "./sleeper.js"

/** Where a service is in its life; it only moves to the right, and may skip states. */
export type ServiceState = "idle" | "starting" | "running" | "stopping" | "stopped"

export interface ServiceOptions {
  /** For messages: "listener", "claimer", … */
  name: string
  logger: Logger
  /** Its sleeps do not keep the process alive. Default false. */
  unref?: boolean
}

/**
 * The life of a long-lived part (listener, claimer, settler, heartbeat, duties): it starts once, stops once, and leaves nothing behind.
 *
 * States: idle → starting → running → stopping → stopped. Invariants:
 * - `onStart()` runs at most once; `onStop()` runs exactly once if `onStart()` was begun, and after it and all spawned work have ended;
 * - `signal` aborts the moment `stop()` is called; what waits must watch it, so that stopping is quick;
 * - `stopped` resolves after `onStop()`, always, and never rejects: a fault is logged, and kept in `failure`;
 * - a stopped service never starts again.
 *
 * ```ts
 * class Beat extends Service {
 *   protected override onStart(): void {
 *     this.spawn(() => this.loop(async () => { await beat(); return 5_000 }))
 *   }
 * }
 * ```
 */
export abstract class Service {
  readonly name: string
  /** Resolves once the service has stopped, by whatever cause. Never rejects. */
  readonly stopped: Promise<void>
  /** The logger of the options; one that throws must not harm the service. */
  protected readonly logger: Logger
  readonly #aborter = new AbortController()
  readonly #sleeper: Sleeper
  readonly #work = new Set<Promise<void>>()
  readonly #markStopped: () => void
  #state: ServiceState = "idle"
  #starting: Promise<void> | undefined
  #begun = false
  #failure: unknown

  constructor(options: ServiceOptions) {
    this.name = options.name
    this.logger = guardLogger(options.logger)
    setMaxListeners(0, this.#aborter.signal)
    this.#sleeper = new Sleeper(this.#aborter.signal, { unref: options.unref === true })
    let markStopped = (): void => undefined
    this.stopped = new Promise((resolve) => {
      markStopped = resolve
    })
    this.#markStopped = markStopped
  }

  get state(): ServiceState {
    return this.#state
  }

  /** What ended the service when nobody called `stop()`: the error of `onStart()` or of spawned work. */
  get failure(): unknown {
    return this.#failure
  }

  /** Aborts when the service is to stop. */
  get signal(): AbortSignal {
    return this.#aborter.signal
  }

  /**
   * Starts the service; later calls return the same promise. Does nothing on a service that was told to stop. Rejects with the error of
   * `onStart()`; the service then cleans up by itself and is stopped.
   */
  start(): Promise<void> {
    if (this.#starting === undefined) {
      if (this.signal.aborted) return Promise.resolve()
      this.#state = "starting"
      // A tick later, so that a stop() from inside onStart() already finds this promise.
      this.#starting = Promise.resolve().then(() => this.#begin())
    }
    return this.#starting
  }

  /**
   * Stops the service, whatever its state; every call returns the same promise, which never rejects. The service's own work must not await it
   * (it would wait for itself): throw from the work, or call `requestStop()`.
   */
  stop(): Promise<void> {
    this.requestStop()
    return this.stopped
  }

  /** Ends `sleep()` early; see Sleeper. */
  wake(): void {
    this.#sleeper.wake()
  }

  /** Begins to stop, without waiting for the end of it. */
  protected requestStop(): void {
    if (this.signal.aborted) return
    this.#state = "stopping"
    this.#aborter.abort(new Error(`The ${this.name} was stopped`))
    void this.#end()
  }

  /** Sets up. What it starts for the long run goes through `spawn()`. */
  protected onStart(): void | Promise<void> {}

  /** Gives back what `onStart()` took; runs when no spawned work is left. */
  protected onStop(): void | Promise<void> {}

  /** Runs work that `stop()` waits for. An error that escapes it is logged and stops the service. */
  protected spawn(work: () => Promise<void>): void {
    const running = Promise.resolve()
      .then(work)
      .catch((error: unknown) => this.#fail(`The ${this.name} stops: its work failed`, error))
      .finally(() => this.#work.delete(running))
    this.#work.add(running)
  }

  /**
   * Repeats `step` until the service stops, with a sleep of as many milliseconds as the step returned (0: go on at once, `Infinity`: until
   * `wake()`). A step that throws is logged and repeated after a growing pause (see RetryPause), or at the next `wake()`.
   */
  protected async loop(step: () => number | Promise<number>): Promise<void> {
    const pause = new RetryPause()
    while (!this.signal.aborted) {
      let ms: number
      try {
        ms = await step()
        pause.reset()
      } catch (error) {
        if (this.signal.aborted) return
        ms = pause.next()
        this.logger.error(`The ${this.name} failed and tries again in ${ms} ms`, { error })
      }
      if (ms > 0) await this.sleep(ms)
    }
  }

  /** Sleeps `ms` milliseconds unless `wake()` or `stop()` ends it; true when the whole time went by. */
  protected sleep(ms: number): Promise<boolean> {
    return this.#sleeper.sleep(ms)
  }

  async #begin(): Promise<void> {
    if (this.signal.aborted) return
    this.#begun = true
    try {
      await this.onStart()
      if (this.#state === "starting") this.#state = "running"
    } catch (error) {
      this.#fail(undefined, error)
      throw error
    }
  }

  #fail(message: string | undefined, error: unknown): void {
    if (!this.signal.aborted) this.#failure = error
    if (message !== undefined) this.logger.error(message, { error })
    this.requestStop()
  }

  /** Never rejects: nobody waits for it. */
  async #end(): Promise<void> {
    // The caller of start() gets that error.
    await this.#starting?.catch(() => undefined)
    while (this.#work.size > 0) await Promise.all(this.#work)
    if (this.#begun) {
      try {
        await this.onStop()
      } catch (error) {
        this.logger.error(`The ${this.name} did not stop cleanly`, { error })
      }
    }
    this.#state = "stopped"
    this.#markStopped()
  }
}

/**
 * Finds what this worker has claimed without knowing it: a claim was committed, and its answer lost with the connection. Nobody else would, as
 * long as this worker lives, since its heartbeat keeps all its jobs.
 *
 * A claim on its way is cut off before a lease is over. So what began a lease ago when the database looked was answered by the time that the look is,
 * or never will be; and what is in none of the worker's hands then was lost. (Not when the look was sent: on a slow way it may take longer than a
 * lease itself, and a claim be answered meanwhile.) It goes back, fenced like every outcome. The look walks the index entries of all that the worker ran since the last vacuum: it happens
 * once a minute (bytes of a dead connection may reach the server very late), and after each claim that failed.
 */

import type { EventFeed } from "../../events/event-feed.js"
import { Aftermath } from "../../jobs/consequences.js"
import { Service, type ServiceOptions } from "../../lib/service.js"
import { performance } from "../../lib/timers.js"
import type { Notifier } from "../../postgres/notify/wake.js"
import type { Runner } from "../../postgres/run/pool.js"
import type { Statements } from "../../postgres/statements/statements.js"
import type { SettleRow } from "../run/outcome.js"

export interface LostClaimsOptions extends Omit<ServiceOptions, "name"> {
  readonly runner: Runner
  readonly statements: Statements
  readonly notifier: Notifier
  readonly events: EventFeed
  readonly workerId: string
  readonly leaseMs: number
  /** The leases of everything that is in the worker's hands: running, waiting for a slot, waiting to be recorded. */
  readonly held: () => Iterable<string>
}

const EVERY_MS = 60_000

export class LostClaims extends Service {
  readonly #options: LostClaimsOptions
  readonly #aftermath: Aftermath
  #dueAt = performance.now() + EVERY_MS * (0.5 + Math.random() / 2)

  constructor(options: LostClaimsOptions) {
    super({ ...options, name: "search for lost claims" })
    this.#options = options
    this.#aftermath = new Aftermath(options)
  }

  /** A claim has failed: whether it took anything is unknown. */
  claimFailed(): void {
    const at = performance.now() + this.#options.leaseMs * 1.05
    if (at > this.#dueAt) return
    this.#dueAt = at
    this.wake()
  }

  protected override onStart(): void {
    this.spawn(() => this.loop(() => this.#step()))
  }

  /** For a worker that holds nothing any more and is about to go: whatever still is its own goes back, however young. */
  async last(): Promise<void> {
    await this.#giveBack(0)
  }

  async #step(): Promise<number> {
    const wait = this.#dueAt - performance.now()
    if (wait > 0) return wait
    this.#dueAt = performance.now() + EVERY_MS * (0.9 + 0.2 * Math.random())
    try {
      await this.#giveBack(this.#options.leaseMs)
      return 0
    } catch (error) {
      this.#dueAt = 0
      throw error
    }
  }

  async #giveBack(olderThanMs: number): Promise<void> {
    const { runner, statements, workerId, held } = this.#options
    const found = await runner.run<{ id: string; lease: string }>({
      ...statements.lost_claims,
      values: [workerId, olderThanMs, [...new Set(held())]],
    })
    const known = new Set(held())
    const lost = found.filter(({ lease }) => !known.has(lease))
    if (lost.length === 0) return
    const ids = lost.map(({ id }) => id)
    const [row] = await runner.run<SettleRow>({
      ...statements.settle,
      values: [workerId, ids, lost.map(({ lease }) => lease), lost.map(() => "released"), null, null, null, null],
    })
    const jobs = row!.settled ?? ids
    if (jobs.length > 0) this.logger.warn("jobs were claimed and the answer was lost; they went back", { jobs })
    this.#aftermath.follow(row!)
  }
}

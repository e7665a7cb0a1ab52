/** What arrives for a worker: hints of its own process, on its own channel and on the schema's; and hints for other workers, which it guards. */

import type { Logger } from "../api/logger.js"
import type { EventFeed } from "../events/event-feed.js"
import { keepContext } from "../lib/async-context.js"
import { type Hint, type Notifier, parseDirect, parseHint, type WakeHub, workerChannel } from "../postgres/notify/wake.js"
import type { Connector } from "../postgres/run/connector.js"
import type { QueueClaimer } from "./claim/claimer.js"
import type { Sweeper } from "./claim/sweeper.js"
import { WakeGuard } from "./claim/wake-guard.js"
import type { Connections } from "./connections.js"
import type { Duties } from "./maintenance/duties.js"
import type { Cancellations } from "./run/cancellations.js"

export interface WakeUpsOptions {
  readonly logger: Logger
  readonly workerId: string
  readonly notifier: Notifier
  readonly connector: Connector
  readonly connections: Connections
  readonly claimers: ReadonlyMap<string, QueueClaimer>
  readonly events: EventFeed
  readonly sweeper: Sweeper
  readonly duties: Duties
  readonly cancellations: Cancellations
  /** It listens, for the first time or again: what came before may have been missed. */
  readonly up: () => void
  /** There is another worker. */
  readonly joined: () => void
  readonly down: () => void
}

export class WakeUps {
  readonly #options: WakeUpsOptions
  readonly #guard: WakeGuard
  readonly #listener: ReturnType<Connections["listener"]>
  #live = false

  constructor(options: WakeUpsOptions) {
    this.#options = options
    const { logger, notifier, workerId, claimers } = options
    this.#guard = new WakeGuard({
      logger,
      look: async (queues) => (await options.sweeper.look(queues)).lanes,
      take: (queue, lanes) => claimers.get(queue)!.takeIfFree(lanes),
      relay: (lanes, level) => {
        for (const lane of lanes) notifier.relay(lane, level, workerId)
      },
    })
    this.#listener = options.connections.listener({
      connector: options.connector,
      channels: [notifier.channel, workerChannel(workerId)],
      logger,
      onNotification: (channel, payload) => {
        const hint = channel === notifier.channel ? parseHint(payload, notifier.self) : parseDirect(payload)
        if (hint !== undefined) this.#onHint(hint, true)
      },
      onLive: () => {
        this.#live = true
        options.up()
      },
      onDown: () => {
        this.#live = false
        options.down()
      },
    })
  }

  /** Notifications arrive. */
  get live(): boolean {
    return this.#live
  }

  /**
   * Begins to listen, and returns what ends it within the process. The connection is not waited for: behind a pooler it takes seconds to find that
   * notifications do not arrive, and polling works meanwhile.
   */
  start(hub: WakeHub): () => void {
    const { workerId, claimers, logger } = this.#options
    this.#listener.start().catch((error: unknown) => logger.error("the listener could not start", { error }))
    // In the context of the worker, not of whoever enqueues.
    const onHint = keepContext((hint: Hint, meant: boolean) => this.#onHint(hint, meant))
    return hub.listen(onHint, { id: workerId, takes: (queue) => claimers.get(queue)?.takes() ?? false })
  }

  #onHint(hint: Hint, meant: boolean): void {
    const { claimers, duties, cancellations, events, sweeper } = this.#options
    switch (hint.kind) {
      case "lane":
        claimers.get(hint.lane.queue)?.hint(hint.lane, { ...hint, meant })
        return
      case "guard":
        if (claimers.has(hint.lane.queue)) this.#guard.hint(hint.lane.queue)
        return
      case "due":
        duties.hint(hint.ms)
        return
      case "cancel":
        cancellations.told(hint.ids)
        return
      case "subscribed":
        events.seen(true)
        return
      case "joined":
        this.#options.joined()
        return
      case "queue":
        if (!claimers.has(hint.queue)) return
        claimers.get(hint.queue)!.hold()
        sweeper.now()
    }
  }

  /** Looks after nobody's hints any more; it goes on to listen. */
  async closeGuard(): Promise<void> {
    await this.#guard.close()
  }

  async close(): Promise<void> {
    await this.#listener.close()
  }
}

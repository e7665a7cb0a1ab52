/** What a worker opens towards Postgres by itself. A seam: the simulator (test/simulator) has its own. */
import type pg from "pg"
import type { Logger } from "../logger.js"
import { Listener, type ListenerOptions } from "../postgres/listener.js"
import { type ConnectionConfig, createPool } from "../postgres/pool.js"

export interface Connections {
  pool(config: ConnectionConfig, max: number, logger: Logger, purpose: string): pg.Pool
  listener(options: ListenerOptions): Pick<Listener, "start" | "close">
}

export const toPostgres: Connections = {
  pool: createPool,
  listener: (options) => new Listener(options),
}

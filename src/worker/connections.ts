/** What a worker opens towards Postgres by itself. A seam: the simulator (test/simulator) has its own. */
import type pg from "pg"
import type { Logger } from "../api/logger.js"
import { Listener, type ListenerOptions } from "../postgres/notify/listener.js"
import type { Connector } from "../postgres/run/connector.js"

export interface Connections {
  pool(connector: Connector, max: number, logger: Logger, purpose: string): pg.Pool
  listener(options: ListenerOptions): Pick<Listener, "start" | "close">
}

export const toPostgres: Connections = {
  pool: (connector, ...rest) => connector.createPool(...rest),
  listener: (options) => new Listener(options),
}

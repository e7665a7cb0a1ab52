import { InvalidOptionError } from "./errors.js"
import type { Logger } from "./logger.js"
import { checkPool } from "./postgres/connector.js"
import type { DatabaseOptions } from "./postgres/types.js"
import { checkBoolean, checkInteger, checkKeys } from "./task/option-checks.js"

/** Options of `configure()` and `new Tusk()`. */
export interface TuskOptions extends DatabaseOptions {
  /** Default of WorkerOptions.signals for its workers. Default true. */
  signals?: boolean
  /** Largest stored payload (an argument list, a result) in bytes of JSON; null: any. Default 1 MiB. */
  maxPayloadBytes?: number | null
  /** Default: warnings and errors to standard error. */
  logger?: Logger
}

export const DEFAULT_MAX_PAYLOAD_BYTES: number = 1024 * 1024

const KNOWN = [
  "connectionString",
  "pool",
  "listenConnectionString",
  "embedded",
  "schema",
  "migrate",
  "signals",
  "maxPayloadBytes",
  "preparedStatements",
  "logger",
] as const

/** @throws InvalidOptionError for an option that is misspelt or of the wrong kind */
export function checkTuskOptions(options: TuskOptions | string | undefined): TuskOptions {
  if (typeof options === "string") return { connectionString: options }
  if (options === undefined) return {}
  if (options instanceof URL) throw new InvalidOptionError("configure() got a URL object; write url.href")
  // Not its elements: they may be connection strings.
  if (Array.isArray(options)) throw new InvalidOptionError("configure() is [ … ], which is not an object; write { connectionString: [ … ] }")
  checkKeys(options as unknown, KNOWN, "configure()")
  const sources = (["connectionString", "pool", "embedded"] as const).filter((name) => options[name] !== undefined && options[name] !== false)
  if (sources.length > 1) throw new InvalidOptionError(`configure() got ${sources.join(" and ")}; write one of them`)
  for (const name of ["migrate", "signals", "preparedStatements"] as const) if (options[name] !== undefined) checkBoolean(options[name], name)
  if (options.maxPayloadBytes != null) checkInteger(options.maxPayloadBytes, "maxPayloadBytes", 1, Number.MAX_SAFE_INTEGER, "bytes")
  if (options.pool !== undefined) checkPool(options.pool)
  if (typeof options.embedded === "object" && options.embedded !== null) checkKeys(options.embedded as unknown, ["dataDir", "port"], "embedded")
  else if (options.embedded !== undefined) checkBoolean(options.embedded, "embedded")
  for (const method of ["debug", "info", "warn", "error"] as const) {
    if (options.logger !== undefined && typeof options.logger?.[method] !== "function") {
      throw new InvalidOptionError(`logger has no method ${method}; write an object with debug, info, warn and error`)
    }
  }
  return options
}

import type { TuskOptions } from "./api/client.js"
import { InvalidOptionError } from "./api/errors.js"
import { describeValue, invalidOption } from "./lib/invalid-option.js"
import { checkBoolean, checkInteger, checkText, isA, isList, propertyOf, readOptions } from "./lib/option-checks.js"
import { checkPool } from "./postgres/run/connector.js"
import { schemaNames } from "./postgres/statements/names.js"

/** 1 MiB. */
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
export function checkTuskOptions(given: TuskOptions | string | undefined): TuskOptions {
  if (typeof given === "string") return { connectionString: given }
  if (given === undefined) return {}
  if (isA(given, URL)) throw new InvalidOptionError("configure() got a URL object; write url.href")
  // Not its elements: they may be connection strings.
  if (isList(given)) throw new InvalidOptionError("configure() is [ … ], which is not an object; write { connectionString: [ … ] }")
  const options: TuskOptions = readOptions(given, KNOWN, "configure()")
  const sources = (["connectionString", "pool", "embedded"] as const).filter((name) => options[name] !== undefined && options[name] !== false)
  if (sources.length > 1) throw new InvalidOptionError(`configure() got ${sources.join(" and ")}; write one of them`)
  for (const name of ["migrate", "signals", "preparedStatements"] as const) if (options[name] !== undefined) checkBoolean(options[name], name)
  if (options.maxPayloadBytes !== undefined && options.maxPayloadBytes !== null)
    checkInteger(options.maxPayloadBytes, "maxPayloadBytes", 1, Number.MAX_SAFE_INTEGER, "bytes")
  if (options.schema !== undefined) schemaNames(options.schema)
  if (options.pool !== undefined) checkPool(options.pool)
  if (options.logger !== undefined) checkLogger(options.logger)
  return options.embedded === undefined ? options : { ...options, embedded: checkEmbedded(options.embedded) }
}

function checkEmbedded(given: unknown): boolean | { dataDir?: string; port?: number } {
  if (typeof given === "boolean") return given
  if (typeof given !== "object" || given === null)
    throw invalidOption("embedded", given, "which is not a boolean", "write true, false, or { dataDir, port }")
  const { dataDir, port } = readOptions(given, ["dataDir", "port"], "embedded")
  if (dataDir !== undefined) checkText(dataDir, "dataDir of embedded", 4_096)
  if (port !== undefined) checkInteger(port, "port of embedded", 1, 65_535, "a free one when it is left out")
  return { ...(dataDir === undefined ? {} : { dataDir }), ...(port === undefined ? {} : { port }) }
}

function checkLogger(logger: unknown): void {
  for (const method of ["debug", "info", "warn", "error"] as const) {
    if (typeof propertyOf(logger, method) !== "function") {
      throw new InvalidOptionError(`logger has no method ${method}; write an object with debug, info, warn and error, not ${describeValue(logger)}`)
    }
  }
}

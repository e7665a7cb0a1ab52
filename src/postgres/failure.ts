/** What a failed statement means: one place that maps SQLSTATEs and socket errors to a decision and to a sentence. */
import { ConnectionError } from "../errors.js"
import { sqlStateOf } from "./sqlstate.js"

const SOCKET = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ENOENT",
  "ECONNABORTED",
])

/**
 * A server that takes no writes was refused before a statement was sent to it. The code is that of a statement which it would refuse, so that
 * both are treated alike.
 */
export class ReadOnlyServerError extends Error {
  readonly code: string = READ_ONLY

  constructor(role: string) {
    super(role === "standby" ? "the server is a standby (it is in recovery)" : "its transactions are read-only (default_transaction_read_only)")
  }
}

/** None of several hosts gave a connection to a server that takes writes; what each came to is in `errors`. */
export class NoWritableServerError extends AggregateError {}

/** SQLSTATE read_only_sql_transaction. */
const READ_ONLY = "25006"

/** The connection leads to a server that takes no writes. It has done nothing, and never will on this connection: the connection is as good as lost. */
export function isReadOnly(error: unknown): boolean {
  return sqlStateOf(error) === READ_ONLY
}

function socketCode(error: unknown): string | undefined {
  for (let e = error, depth = 0; typeof e === "object" && e !== null && depth < 5; depth++) {
    const code: unknown = Reflect.get(e, "code")
    if (typeof code === "string" && SOCKET.has(code)) return code
    const inner: unknown = Reflect.get(e, "errors")
    e = Array.isArray(inner) ? inner[0] : Reflect.get(e, "cause")
  }
  return undefined
}

/** The connection is gone or was never there: whether the statement took effect is unknown. */
export function isConnectionLoss(error: unknown): boolean {
  if (socketCode(error) !== undefined) return true
  const state = sqlStateOf(error)
  if (state !== undefined) return state.startsWith("08") || state === "57P01" || state === "57P02" || state === "57P03" || state === "57P05"
  const message = error instanceof Error ? error.message : ""
  return /connection (terminated|ended|timeout|error)|timeout (exceeded when trying to connect|expired)|not queryable|client was closed|socket|did not answer within/i.test(
    message,
  )
}

/** The client knew before it sent the statement that its connection was gone. */
export function isNeverSent(error: unknown): boolean {
  return error instanceof Error && /not queryable$/.test(error.message)
}

/**
 * Worth another try: nothing about the statement itself is wrong. Lost connections, serialization failures and deadlocks, lock and statement
 * time-outs, a server that is full, starting, stopping or read-only (a failover).
 */
export function isTransient(error: unknown): boolean {
  if (isConnectionLoss(error)) return true
  const state = sqlStateOf(error)
  if (state === undefined) return false
  return state.startsWith("53") || state.startsWith("58") || ["40001", "40P01", "55P03", "57014", READ_ONLY, "XX000"].includes(state)
}

/**
 * A sentence for a connection that cannot be made, or was lost, with what to check.
 * @param unknown a statement was on its way, and may have taken effect
 */
export function connectionError(error: unknown, target: string, unknown = false): ConnectionError {
  const state = sqlStateOf(error)
  const message = error instanceof Error && error.message !== "" ? error.message : String(error)
  const socket = socketCode(error)
  let say = `pgtusk cannot use Postgres at ${target}: ${message}`
  if (error instanceof NoWritableServerError) say = `None of the servers ${target} takes writes: ${message}`
  else if (state === READ_ONLY)
    say = `Postgres at ${target} takes no writes: ${message}. It is a standby, or a setting makes it read-only; connect to the primary, or give the hosts of all servers, and pgtusk goes to the one that takes writes`
  else if (socket === "ENOTFOUND" || socket === "EAI_AGAIN") say = `pgtusk cannot find the host of ${target}; check the name in the connection string`
  else if (socket !== undefined) say = `No Postgres answers at ${target} (${socket}); check host and port, and that the server runs`
  else if (state === "28P01" || state === "28000") say = `Postgres at ${target} refuses the log-in: ${message}; check user and password`
  else if (state === "3D000") say = `Postgres at ${target} has no such database: ${message}; create it, or correct the connection string`
  else if (state === "53300") say = `Postgres at ${target} has no connection left: ${message}; raise max_connections or use fewer`
  else if (state === "53100") say = `Postgres at ${target} has no space left on its disk: ${message}; free some, and what waits goes on`
  else if (state === "42501") say = `The user of ${target} lacks a right: ${message}; grant it, or run the migrations as the schema's owner`
  else if (/timeout (exceeded when trying to connect|expired)|connection timeout/i.test(message))
    say = `Postgres at ${target} did not give a connection in time (${message}); check host and port, that the server runs, and that no transaction keeps its connection for ever`
  else if (/SCRAM|password must be a string/i.test(message))
    say = `Postgres at ${target} asks for a password and the connection string has none (${message})`
  return new ConnectionError(say, { cause: error, unknown })
}

/** What a failed statement means: one place that maps SQLSTATEs and socket errors to a decision and to a sentence. */
import { ConnectionError, TuskError } from "../../api/errors.js"
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
  if (error instanceof ConnectionError && error.cause !== undefined) return isConnectionLoss(error.cause)
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
 * What the server has against the values of a statement: data exceptions, broken constraints, limits, and what functions raise. Who sent the
 * statement knows whose values they are; everything else is no fault of a call.
 */
export function isAboutValues(error: unknown): boolean {
  const state = sqlStateOf(error)
  return state !== undefined && ["22", "23", "54", "P0", "PT"].includes(state.slice(0, 2))
}

/** What our own SQL functions raise; whoever calls them makes an error of it. */
const RAISED_BY_US = /^PT/

/**
 * A rule of the database's own for our tables, a trigger, constraint or policy say, refuses a statement of ours: that as an error of ours.
 * Anything else as it is.
 *
 * @param what as in "the job, and nothing was stored"
 */
export function refusedByRule(error: unknown, target: string, what: string): unknown {
  if (error instanceof TuskError || !isAboutValues(error)) return error
  const state = sqlStateOf(error)!
  if (RAISED_BY_US.test(state)) return error
  const message = error instanceof Error ? error.message : String(error)
  return new TuskError("REFUSED", `Postgres at ${target} refuses ${what}: ${message}`, { cause: error })
}

/**
 * In a transaction of the caller's, whose errors are its client's: a statement of ours has failed because a right, a table or a function is missing, the
 * server takes no writes, or a time is over.
 */
export function isNotOfTheCaller(error: unknown): boolean {
  return /^(42501|3F000|42P01|42883|42703|25006|57014|55P03)$/.test(sqlStateOf(error) ?? "")
}

/** The certificate is not trusted; its authority is unknown, it is another host's, or its time is over. */
const CERTIFICATE = /SELF_SIGNED_CERT|^UNABLE_TO_|^CERT_|^ERR_TLS_CERT|^HOSTNAME_MISMATCH|^INVALID_CA/
/** TLS failed before there was a certificate to look at. */
const TLS = /^ERR_SSL_|^ERR_TLS_|^EPROTO$/

/** What to say of a failure; the server's own words are `message`. */
function sentence(error: unknown, message: string, target: string): string {
  const state = sqlStateOf(error)
  const socket = socketCode(error)
  const code = String((typeof error === "object" && error !== null && Reflect.get(error, "code")) || "")
  const at = `Postgres at ${target}`
  if (error instanceof NoWritableServerError) return `None of the servers ${target} takes writes: ${message}`
  if (state === READ_ONLY)
    return `${at} takes no writes: ${message}. It is a standby, or a setting makes it read-only; connect to the primary, or give the hosts of all servers, and pgtusk goes to the one that takes writes`
  if (socket === "ENOTFOUND" || socket === "EAI_AGAIN") return `pgtusk cannot find the host of ${target}; check the name in the connection string`
  if (socket !== undefined) return `No Postgres answers at ${target} (${socket}); check host and port, and that the server runs`
  // The words differ with lc_messages; the place in Postgres's code does not.
  if (state === "42501" && Reflect.get(Object(error), "routine") === "ExecWithCheckOptions")
    return `Row-level security refuses a row to the user of ${target}: ${message}; if the table is one of pgtusk's, run \`npx pgtusk migrate\` as its owner, which gives the owner a policy, and give other users one of their own`
  if (state !== undefined) return refusal(state, message, at) ?? `${at} refuses a statement of pgtusk: ${message} (${state})`
  if (CERTIFICATE.test(code))
    return `pgtusk does not trust the certificate of ${at}: ${message}; give the certificate of its authority (sslrootcert=/path/to/ca.pem in the connection string, or ssl: { ca } of a pool), or, in a network that you trust, write sslmode=no-verify`
  if (/does not support SSL/i.test(message))
    return `${at} speaks no TLS (${message}); turn ssl on there, or write sslmode=disable in the connection string`
  if (TLS.test(code) || /establishing an SSL connection/i.test(message))
    return `pgtusk and ${at} do not agree on TLS (${message}); check that a Postgres with TLS listens on that port, or write sslmode=disable`
  if (/timeout (exceeded when trying to connect|expired)|connection timeout/i.test(message))
    return `${at} did not give a connection in time (${message}); check host and port, that the server runs, and that no transaction keeps its connection for ever`
  if (/password must be a/i.test(message))
    return `${at} asks for a password and the connection string has none (${message}); write postgres://user:password@host:5432/database, or set PGPASSWORD`
  if (/invalid response|unexpected message|message code/i.test(message))
    return `What answers at ${target} is no Postgres (${message}); check host and port`
  if (/^Connection (terminated|ended)/.test(message))
    return `The connection to ${at} was cut off (${message}); check that a Postgres listens there, and its log`
  return `pgtusk cannot use ${at}: ${message}`
}

/** What the SQLSTATE of a refusal means for somebody who did not write the statement. */
function refusal(state: string, message: string, at: string): string | undefined {
  if (state.startsWith("28")) {
    if (/pg_hba/.test(message))
      return `${at} refuses the log-in: ${message}; add an entry for this user, database and host to pg_hba.conf, or write sslmode=require where it asks for TLS`
    return `${at} refuses the log-in: ${message}; check user and password in the connection string`
  }
  if (["3F000", "42P01", "42883", "42703", "42704"].includes(state))
    return `${at} lacks a part of pgtusk's schema: ${message}; it was dropped, or never made: run \`npx pgtusk migrate\`, and check the option schema`
  switch (state) {
    case "3D000":
      return `${at} has no such database: ${message}; create it, or correct the connection string`
    case "53300":
      return `${at} has no connection left: ${message}; raise max_connections or use fewer`
    case "53100":
      return `${at} has no space left on its disk: ${message}; free some, and what waits goes on`
    case "42501":
      return `The user of ${at.slice("Postgres at ".length)} lacks a right: ${message}; grant it, or run the migrations as the schema's owner`
    case "57014":
      return `${at} has cancelled a statement of pgtusk: ${message}; raise statement_timeout for this user or database if it is short, and look in pg_stat_activity for what holds the statement up`
    case "55P03":
      return `${at} did not give a statement of pgtusk its lock: ${message}; raise lock_timeout if it is short, and look in pg_locks for who holds it`
    case "57P03":
      return `${at} takes no connections now: ${message}; it starts, stops or recovers, so try again in a moment`
    case "25P03":
      return `${at} has ended the connection: ${message}; the transaction was idle for longer than idle_in_transaction_session_timeout: do slow work before it, or raise the setting`
    case "57P01":
    case "57P02":
    case "57P05":
      return `${at} has ended the connection: ${message}`
    default:
      return undefined
  }
}

/**
 * A failure that is no fault of the caller's values, as the error that leaves the call: it says what happened, and what to do.
 * @param unknown a statement was on its way, and may have taken effect
 */
export function connectionError(error: unknown, target: string, unknown = false): ConnectionError {
  const message = error instanceof Error && error.message !== "" ? error.message : String(error)
  return new ConnectionError(sentence(error, message, target), { cause: error, unknown })
}

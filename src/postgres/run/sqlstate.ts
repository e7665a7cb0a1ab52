/** Where libraries keep the error of the database inside of their own. */
const INNER = ["cause", "driverError", "originalError", "original", "parent", "previous", "meta", "driverAdapterError"]

/**
 * The SQLSTATE (`"23505"`) of an error of Postgres, however deep a library wrapped it; undefined when there is none.
 *
 *     try { … } catch (error) { if (sqlStateOf(error) === "40001") … }
 */
export function sqlStateOf(error: unknown): string | undefined {
  // Nearest first: a wrapper's own SQLSTATE says more than one further down.
  for (const value of layersOf(error)) {
    const state = ownSqlState(value)
    if (state !== undefined) return state
  }
  return undefined
}

/** What one of our SQL functions raised (`pgtusk: …`), without what libraries put around it; undefined when none did. */
export function raisedBy(error: unknown): string | undefined {
  let raised: string | undefined
  for (const value of layersOf(error)) {
    for (const name of ["originalMessage", "message"]) {
      const message: unknown = Reflect.get(value, name)
      if (typeof message !== "string") continue
      const at = message.indexOf(RAISED)
      // The innermost is the shortest: wrappers add the statement and its parameters.
      if (at !== -1 && (raised === undefined || message.length - at < raised.length)) raised = message.slice(at)
    }
  }
  return raised?.slice(RAISED.length)
}
const RAISED = "pgtusk: "

/** The error and the ones inside of it, the nearest first. */
function* layersOf(error: unknown): Generator<object> {
  const seen = new Set<unknown>()
  const open: unknown[] = [error]
  for (const value of open) {
    if (typeof value !== "object" || value === null || seen.has(value)) continue
    seen.add(value)
    yield value
    for (const name of INNER) open.push(Reflect.get(value, name))
    const several: unknown = Reflect.get(value, "errors")
    if (Array.isArray(several)) open.push(...several)
  }
}

function ownSqlState(error: object): string | undefined {
  // Prisma numbers its errors P1000 and up, five characters as well; `originalCode` is what its driver adapters keep of the database's.
  const names = "clientVersion" in error ? ["originalCode"] : ["originalCode", "code"]
  for (const name of names) {
    const code: unknown = Reflect.get(error, name)
    // EPIPE, EPERM and their kind are errors of the operating system.
    if (typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]{4}$/.test(code)) return code
  }
  return undefined
}

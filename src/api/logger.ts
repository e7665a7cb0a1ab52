/** Where pgtusk tells what happens. Any logger with these four methods fits (pino, winston, console). */
export interface Logger {
  /** What only a developer of the library asks for. */
  debug(message: string, fields?: object): void
  /** What happens in the ordinary course: a worker has started, the connection is back. */
  info(message: string, fields?: object): void
  /** What went wrong and mends itself. */
  warn(message: string, fields?: object): void
  /** What somebody has to look at. */
  error(message: string, fields?: object): void
}

/** The default: silent but for warnings and errors, which go to standard error, a line each. */
export const quietLogger: Logger = {
  debug() {},
  info() {},
  warn(message, fields) {
    write("warn", message, fields)
  },
  error(message, fields) {
    write("error", message, fields)
  },
}

function write(level: string, message: string, fields?: object): void {
  process.stderr.write(`pgtusk ${level}: ${message}${fields === undefined ? "" : ` ${describe(fields)}`}\n`)
}

function describe(fields: object): string {
  const parts = Object.entries(fields).map(
    ([name, value]) => `${name}=${value instanceof Error ? value.message : typeof value === "string" ? value : JSON.stringify(value)}`,
  )
  return parts.length === 0 ? "" : `(${parts.join(", ")})`
}

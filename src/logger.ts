/** Where pgtusk tells what happens. Any logger with these four methods fits (pino, winston, console). */
export interface Logger {
  debug(message: string, fields?: object): void
  info(message: string, fields?: object): void
  warn(message: string, fields?: object): void
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

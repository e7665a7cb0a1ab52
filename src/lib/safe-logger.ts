import type { Logger } from "../api/logger.js"

/** The same logger, whose own faults harm nobody: what it throws is dropped. */
export function guardLogger(logger: Logger): Logger {
  const guard =
    (level: keyof Logger) =>
    (message: string, fields?: object): void => {
      try {
        logger[level](message, fields)
      } catch {
        // There is nobody left to tell.
      }
    }
  return { debug: guard("debug"), info: guard("info"), warn: guard("warn"), error: guard("error") }
}

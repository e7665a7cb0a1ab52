/**
 * `npm run db`: a scratch Postgres whose data stays in .pgtusk/db. Prints its URL and runs until Ctrl-C.
 *
 *     npm run db                    a port of its own choice, the same each time while it is free
 *     npm run db -- --port 5433
 *     npm run db -- --verbose       with the server's log
 */
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { startEmbedded } from "../src/embedded/embedded.ts"

const { values } = parseArgs({ options: { port: { type: "string" }, verbose: { type: "boolean", default: false } } })

const logger = {
  debug: (message) => values.verbose && console.error(message),
  info: () => {},
  warn: (message) => console.error(message),
  // The one error that it reports: the server is gone.
  error: (message) => {
    console.error(message)
    process.exit(1)
  },
}

const server = await startEmbedded({
  dataDir: fileURLToPath(new URL("../.pgtusk/db", import.meta.url)),
  ...(values.port === undefined ? {} : { port: Number(values.port) }),
  logger,
}).catch((error) => {
  console.error(error.message)
  process.exit(1)
})

console.log(server.connectionString)
if (server.owner) {
  console.error(`Postgres runs, its data is in ${server.dataDir}. Ctrl-C stops it.`)
  const running = setInterval(() => {}, 60_000)
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.once(signal, async () => {
      clearInterval(running)
      await server.stop()
      console.error("Postgres is stopped.")
    })
  }
} else {
  console.error(`It runs already, started by another process; its data is in ${server.dataDir}.`)
}

import { existsSync } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { dirname, join, relative } from "node:path"
import pg from "pg"
import { quietLogger } from "../api/logger.js"
import { startEmbedded } from "../embedded/embedded.js"
import { migrateUrl } from "../postgres/schema/migrate.js"
import { note, print } from "./output.js"
import { stopSignal } from "./signals.js"
import { noteLogger } from "./worker-log.js"

export interface DevOptions {
  readonly dataDir: string
  readonly port?: number
  readonly schema: string
  readonly verbose: boolean
}

/** `pgtusk dev`: a Postgres until a signal; returns the exit code. */
export async function dev({ dataDir, port, schema, verbose }: DevOptions): Promise<number> {
  const signal = stopSignal()
  await ignoreInGit(dataDir)
  note(`Starting Postgres on ${dataDir} …`)
  const server = await startEmbedded({ dataDir, ...(port === undefined ? {} : { port }), logger: verbose ? noteLogger(true) : quietLogger })
  try {
    const url = server.connectionString
    const { applied } = await migrateUrl(url, { schema })
    const { version, ended, close } = await watch(url)
    note(`PostgreSQL ${version} on port ${server.port}; schema "${schema}" ${applied.length === 0 ? "is up to date" : "is made"}.`)
    print(`DATABASE_URL=${url}`)
    note(nextSteps(url, schema))
    if (!server.owner) {
      note("It ran already, and stops with the process that started it; there is nothing to wait for here.")
      await close()
      return 0
    }
    note(`Ctrl-C stops it; the data stays in ${relative(process.cwd(), server.dataDir) || "."}.`)
    const stopped = await Promise.race([signal, ended])
    if (stopped === undefined) {
      note(`error: the Postgres of ${dataDir} has gone (its log: ${join(dataDir, "server.log")}); start it again with \`npx pgtusk dev\``)
      return 1
    }
    note("Stopping Postgres …")
    await close()
  } finally {
    await server.stop()
  }
  note("Stopped.")
  return 0
}

/** Holds one connection: it tells when the server goes, and it keeps this process alive. */
async function watch(url: string): Promise<{ version: string; ended: Promise<undefined>; close: () => Promise<void> }> {
  const client = new pg.Client({ connectionString: url, application_name: "pgtusk dev" })
  const ended = new Promise<undefined>((resolve) => {
    client.on("end", () => resolve(undefined))
    client.on("error", () => resolve(undefined))
  })
  await client.connect()
  const { rows } = await client.query("select current_setting('server_version') as version")
  return { version: rows[0].version, ended, close: () => client.end().catch(() => {}) }
}

function nextSteps(url: string, schema: string): string {
  const option = schema === "tusk" ? "" : ` --schema ${schema}`
  return `
In another terminal:
  export DATABASE_URL="${url}"
  npx pgtusk worker ./tasks.js${option}                  run the jobs of the tasks in tasks.js
  npx pgtusk enqueue emails.send '["a@b.c"]'${option}    store a job by hand
  npx pgtusk status${option}                             see the queues and the workers
`
}

/** The stock place is inside of a project; its data does not belong into version control. */
async function ignoreInGit(dataDir: string): Promise<void> {
  const folder = dirname(dataDir)
  if (folder !== ".pgtusk" || existsSync(join(folder, ".gitignore"))) return
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, ".gitignore"), "*\n")
}

/**
 * `npm run demo`: real work on a Postgres that starts and goes with it, a worker that is killed half-way, and a check that nothing is lost and
 * nothing done twice. The story is in story.ts.
 */
import { fileURLToPath } from "node:url"
import pg from "pg"
import { configure } from "../../src/index.js"
import { Screen } from "./screen.js"
import { play } from "./story.js"

/** It takes 20 to 30 s on two free cores. A crowded machine may take its time, but nothing may hang. */
const LIMIT_MS = 120_000

const screen = new Screen()
const stop = new AbortController()
const limit = setTimeout(() => stop.abort(new Error(`the demo took longer than ${LIMIT_MS / 1000} s`)), LIMIT_MS)
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    // The second time nobody waits: the server's guard and the workers notice that this process is gone.
    if (stop.signal.aborted) process.exit(130)
    stop.abort(new Error(`ended by ${name}`))
  })
}

screen.line()
screen.line(`  ${screen.style("bold", "pgtusk")}: every Markdown file under node_modules is a job`)
screen.line()

const tusk = configure({ embedded: true })
let pool: pg.Pool | undefined
let lastLine = "demo: failed"
try {
  await tusk.migrate()
  pool = new pg.Pool({ connectionString: await tusk.connectionString(), max: 3 })
  pool.on("error", () => {})
  const folder = fileURLToPath(new URL("../../node_modules", import.meta.url))
  const { jobs, lost, twice, wrong } = await play({ tusk, pool, folder, screen, signal: stop.signal })
  for (const fault of [...lost, ...twice, ...wrong].slice(0, 20)) screen.trouble(fault)
  if (wrong.length > 0) screen.trouble(`${wrong.length} wrong`)
  if (lost.length + twice.length + wrong.length > 0) process.exitCode = 1
  lastLine = `demo: ${jobs} jobs, ${lost.length} lost, ${twice.length} twice`
} catch (error) {
  screen.endBar()
  const reason = stop.signal.aborted ? stop.signal.reason : error
  screen.trouble(reason instanceof Error ? reason.message : String(reason))
  if (!stop.signal.aborted && error instanceof Error) screen.line(error.stack)
  process.exitCode = 1
} finally {
  clearTimeout(limit)
  await pool?.end()
  await tusk.close()
}
screen.line()
screen.line(lastLine)
// Whatever may still hold the process open, the demo is over.
process.exit()

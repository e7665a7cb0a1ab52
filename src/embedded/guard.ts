/**
 * The guard: a small process that outlives its owner by a moment and stops the server then.
 *
 * It waits for the end of its standard input, a pipe that only the owner holds, so it notices every way to go: a return from main,
 * `process.exit`, a signal, SIGKILL. The owner needs no signal or exit handlers for that, and so takes none from the application.
 * The owner tells it what runs (initdb, then the postmaster) and what to delete after it, as a line of JSON; `done` ends it without doing anything.
 */
import { spawn } from "node:child_process"
import type { Socket } from "node:net"
import { tmpdir } from "node:os"
import type { Logger } from "../api/logger.js"

export interface Guard {
  /** From now on this process must be stopped (0: none) and this directory deleted, besides the temporary one. */
  watch(pid: number, unfinished?: string): void
  /** Everything is stopped: go without doing anything. */
  release(): void
}

/** Source text, not a file: it has to run from TypeScript, from the built package and out of a bundle alike. */
const SOURCE = `
const { readFileSync, rmSync } = require("node:fs")
const temporary = process.argv[1]
let pid = 0
let unfinished = ""
let text = ""
const signal = (name) => { try { process.kill(pid, name) } catch {} }
const alive = () => {
  try { process.kill(pid, 0) } catch (error) { if (error.code !== "EPERM") return false }
  // A zombie is gone, whether or not anyone reaps it.
  try { return !/^State:\\s+[ZX]/m.test(readFileSync("/proc/" + pid + "/status", "utf8")) } catch { return process.platform !== "linux" }
}
process.stdin.setEncoding("utf8")
process.stdin.on("data", (chunk) => {
  const lines = (text + chunk).split("\\n")
  text = lines.pop()
  for (const line of lines) {
    if (line === "done") process.exit(0)
    ;({ pid, unfinished } = JSON.parse(line))
  }
})
let finishing = false
function finish() {
  if (finishing) return
  finishing = true
  const began = Date.now()
  if (pid > 0) signal("SIGINT")
  const check = () => {
    if (pid > 0 && alive() && Date.now() - began < 60000) {
      if (Date.now() - began > 30000) signal("SIGQUIT")
      return setTimeout(check, 50)
    }
    for (const path of [unfinished, temporary]) if (path) rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
    process.exit(0)
  }
  check()
}
process.stdin.on("end", finish)
process.stdin.on("error", finish)
`

/** @param temporary a directory that goes with the server, if any */
export function startGuard(temporary: string | undefined, logger: Logger): Guard {
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(process.execPath, ["-e", SOURCE, temporary ?? ""], {
    cwd: tmpdir(),
    env: { ...env, ELECTRON_RUN_AS_NODE: "1" },
    stdio: ["pipe", "ignore", "ignore"],
    // Ctrl-C in a terminal reaches every process of the group; this one must live on for a moment.
    detached: true,
  })
  child.on("error", (error) =>
    logger.warn("embedded Postgres has no guard: if this process is killed, the server runs on until the next start", { error }),
  )
  const { stdin } = child
  stdin.on("error", () => {})
  child.unref()
  ;(stdin as Socket).unref()
  return {
    watch: (pid, unfinished = "") => {
      stdin.write(`${JSON.stringify({ pid, unfinished })}\n`)
    },
    release: () => {
      stdin.end("done\n")
    },
  }
}

#!/usr/bin/env node
/** The program `pgtusk`. */
import { runCli } from "./program.js"

// `pgtusk status | head`: the reader has gone, and there is nobody left to tell.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0)
    throw error
  })
}

const exitCode = await runCli(process.argv.slice(2))
// A worker's modules may hold pools and timers of their own, which would keep the process for ever; what was printed must get out before.
process.stdout.write("", () => process.stderr.write("", () => process.exit(exitCode)))

/**
 * `npm run check`: all that can be judged without running the package's own tests. The parts run side by side; the first words of a failure are
 * the name of its part, and the exit code is 1 if one failed.
 *
 *     npm run check
 *     npm run check -- types lint    only these parts
 */
import { spawn } from "node:child_process"
import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
/** Arguments of node, the slowest first. */
const parts = {
  types: ["scripts/check-types.mjs"],
  "generated files": ["--import", "tsx", "scripts/codegen.mjs", "--verify"],
  lint: ["node_modules/@biomejs/biome/bin/biome", "check", "--error-on-warnings", "."],
  "unused code": ["node_modules/knip/bin/knip.js", "--no-progress"],
  "generated SQL": ["scripts/generate-sql.mjs", "--verify"],
  "package lock": ["scripts/complete-lock.mjs", "--verify"],
  "type budget": ["scripts/type-budget.mjs"],
  "bench types": ["scripts/check-bench.mjs"],
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !(name in parts))
if (unknown.length > 0) {
  console.error(`No part ${unknown.join(", ")}; there are: ${Object.keys(parts).join(", ")}`)
  process.exit(2)
}

/** Resolves with the part's name, its time, and what it printed if it failed. */
function run(name) {
  const started = performance.now()
  return new Promise((resolve) => {
    const child = spawn(process.execPath, parts[name], { cwd: root, stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text))
    child.on("error", (error) => resolve({ name, failed: true, output: String(error), seconds: 0 }))
    child.on("close", (code, signal) => {
      const seconds = (performance.now() - started) / 1000
      resolve({ name, failed: code !== 0, output: output.trim() || `exit code ${code ?? signal}`, seconds })
    })
  })
}

const queue = wanted.length > 0 ? wanted : Object.keys(parts)
const started = performance.now()
const failed = []
async function lane() {
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    const result = await run(name)
    console.log(`${result.failed ? "✗" : "✓"} ${name} (${result.seconds.toFixed(1)} s)`)
    if (result.failed) {
      failed.push(name)
      console.log(result.output.replace(/^/gm, "    "))
    }
  }
}
// One more than there are cores: parts wait for the disk and for Postgres too.
await Promise.all(Array.from({ length: availableParallelism() + 1 }, lane))
console.log(failed.length === 0 ? `check: all well, ${((performance.now() - started) / 1000).toFixed(1)} s` : `check: failed in ${failed.join(", ")}`)
process.exitCode = failed.length === 0 ? 0 : 1

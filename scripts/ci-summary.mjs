/** The end of .ci/run: a table of its steps, and the line that counts. Exit code 1 if anything failed. `node scripts/ci-summary.mjs <folder>` */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** scripts/with-docker.mjs says so when no Docker engine can be had on this machine, and scripts/with-debian-postgres.mjs when no such server can. */
const NOT_HERE = 75
const NEEDS = { testcontainers: "no Docker engine here", Debian: "no Postgres of Debian's packages here" }

const folder = process.argv[2]
const steps = readFileSync(join(folder, "steps.tsv"), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => {
    const [name, code, seconds] = line.split("\t")
    return { name, code: Number(code), seconds: Number(seconds), ...count(name, Number(code)) }
  })

/** A step counts as one, or as its tests. One that failed although no test did (a file that does not load, an error outside of tests) counts one failure. */
function count(name, code) {
  const report = join(folder, `${name}.json`)
  const lacking = Object.keys(NEEDS).find((what) => name.includes(what))
  if (code === NOT_HERE && lacking !== undefined) return { passed: 0, failed: 0, skipped: 1, note: `NOT RUN: ${NEEDS[lacking]}` }
  if (!existsSync(report)) return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0, note: "" }
  const { numPassedTests: passed, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(readFileSync(report, "utf8"))
  const skipped = numPendingTests + numTodoTests
  const failed = Math.max(numFailedTests, code !== 0 || passed === 0 ? 1 : 0)
  return { passed, failed, skipped, note: `${passed} tests in ${testResults.length} files${skipped > 0 ? `, ${skipped} skipped` : ""}` }
}

const width = Math.max(...steps.map(({ name }) => name.length))
console.log("\n━━ summary")
for (const { name, code, seconds, failed, note } of steps) {
  const outcome = failed > 0 ? `✗ ${code === 124 ? "took too long" : `exit code ${code}`}` : code === 0 ? "✓" : "!"
  console.log(`${name.padEnd(width)}  ${String(seconds).padStart(5)} s  ${outcome}  ${failed > 0 ? `${failed} failed; ` : ""}${note}`)
}
const sum = (key) => steps.reduce((total, step) => total + step[key], 0)
console.log(`${"all".padEnd(width)}  ${String(sum("seconds")).padStart(5)} s`)
for (const { name, note } of steps.filter(({ code }) => code === NOT_HERE)) console.log(`\n!!!! ${name}: ${note}. The other ways still gate. !!!!\n`)
const skipped = sum("skipped")
console.log(`${sum("passed")} passed, ${sum("failed")} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
process.exitCode = sum("failed") > 0 ? 1 : 0

/**
 * pgtusk and its peers, side by side in one run, on one Postgres with default durability. Talks to loopback only.
 *
 *     npm run bench
 *     npm run bench -- --help
 */
import { type Asked, isWhole, parse, UsageError, usage } from "./cli.js"
import { prepare } from "./prepare.js"
import { ratiosOf, rounded, table, targetTable } from "./report.js"
import { placeOf, write } from "./results.js"
import { run } from "./run.js"
import { scenarios } from "./scenarios/all.js"

const names = scenarios.map(({ name }) => name)

let asked: Asked
try {
  asked = parse(process.argv.slice(2), names)
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  console.error(`bench: ${error.message}\n\n${usage(names)}`)
  process.exit(2)
}
if (asked.help) {
  console.log(usage(names))
  process.exit(0)
}

// Progress goes beside the result, which may be read by a program.
const say = (line: string): void => console.error(line)
const elsewhere = prepare(asked.peers === null || asked.peers.length > 0, say)
if (elsewhere === null) {
  const outcome = await run({ ...asked, bounded: isWhole(asked) }, say)
  const measured = rounded(outcome.measured)
  const ratios = ratiosOf(measured)
  if (asked.json) console.log(JSON.stringify({ ...measured, ratios }))
  else console.log(`${table(measured)}\n\n${targetTable(measured)}`)
  const place = isWhole(asked) ? placeOf(asked.server, outcome.postgres) : null
  if (place !== null) for (const file of write(outcome, place)) say(`bench: wrote ${file}`)
  // What a peer has left behind (timers, sockets) must not keep the process.
  process.exit(0)
} else process.exit(elsewhere)

/** A process of `npm run simulate`: every so many-th seed. */
import { runHistory } from "./history.js"

export interface Slice {
  readonly first: number
  readonly step: number
  readonly end: number
}

const { first, step, end } = JSON.parse(process.argv[2]!) as Slice
process.on("disconnect", () => process.exit(3))
for (let seed = first; seed < end; seed += step) {
  const told = await runHistory(seed >>> 0)
  const whole = told.violation === undefined ? told : await runHistory(seed >>> 0, true)
  await new Promise((resolve) => process.send!(whole, resolve))
}
process.exit(0)

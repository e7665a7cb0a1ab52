import type { ReportProgress } from "../api/worker.js"

const SOURCE: unique symbol = Symbol.for("pgtusk.progress")
interface Slot {
  current?: () => ReportProgress | undefined
}
// On globalThis, since bundlers may load this module twice.
const slot: Slot = ((globalThis as { [SOURCE]?: Slot })[SOURCE] ??= {})

/** The hook of the worker: says which job the calling code runs in. The task layer itself knows no jobs. */
export function setProgressSource(current: () => ReportProgress | undefined): void {
  slot.current = current
}

/** Reports to the job that the calling code runs in, and does nothing outside of one. */
export function currentProgress(): ReportProgress {
  return slot.current?.() ?? nothing
}

function nothing(): void {}

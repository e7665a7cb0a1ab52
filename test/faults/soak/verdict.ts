/** Whether what was sampled is level: the medians of the first and of the last third. */
import type { Sample } from "./sample.js"

interface Rule {
  readonly of: RegExp
  /** The end may be `factor` times the start, and `slack` more; below 1: it must not be less than that. */
  readonly factor: number
  readonly slack: number
}

/** The first that fits a name counts; what none fits is shown and not judged. */
export const RULES: readonly Rule[] = [
  // After a collection: only what is held counts. Compiled code and caches of statements still grow a little.
  { of: /^heap /, factor: 1.1, slack: 2 },
  // What the collector has freed goes back to the system late, and in pieces.
  { of: /^rss /, factor: 1.15, slack: 20 },
  // Pools grow and shrink with how much comes at once. They close after a minute what they do not use, so one that nobody gives back is unused for ever.
  { of: /^connections$/, factor: 1.25, slack: 5 },
  { of: /^connections unused/, factor: 1, slack: 1 },
  // Tables grow by pages and are cleaned in steps: by stock, at 2,000 dead rows, or at a fifth of a daily partition.
  { of: /^(table|indexes) /, factor: 1.25, slack: 256 },
  { of: /^dead rows /, factor: 1.5, slack: 2_000 },
  { of: /^bytes a stored job$/, factor: 1.25, slack: 0 },
  // The load is far below what the machine can do, so it must all be done.
  { of: /^jobs a second$/, factor: 0.95, slack: 0 },
  { of: /^live jobs$/, factor: 1.5, slack: 50 },
  // A claim that slows down with the tables' age, or wake-ups that are lost: seconds. Somebody else may use the machine meanwhile: milliseconds.
  { of: /^pickup p50/, factor: 2, slack: 25 },
]

export interface Line {
  readonly name: string
  readonly start: number
  readonly end: number
  readonly bound: number | undefined
  readonly level: boolean
}

export function judge(samples: readonly Sample[]): Line[] {
  const third = Math.floor(samples.length / 3)
  if (third < 3) throw new Error(`There are ${samples.length} samples; for a verdict it takes 9`)
  const names = [...new Set(samples.flatMap((sample) => Object.keys(sample)))].sort()
  return names.map((name) => {
    // A process that is not there any more has no number: no level either.
    const of = (some: readonly Sample[]): number => median(some.map((sample) => sample[name] ?? Number.NaN))
    const [start, end] = [of(samples.slice(0, third)), of(samples.slice(-third))]
    const rule = RULES.find((r) => r.of.test(name))
    const bound = rule && start * rule.factor + rule.slack
    const level = bound === undefined || (rule!.factor < 1 ? end >= bound : end <= bound)
    return { name, start, end, bound, level }
  })
}

function median(numbers: readonly number[]): number {
  if (numbers.some(Number.isNaN)) return Number.NaN
  const sorted = [...numbers].sort((a, b) => a - b)
  return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.floor(sorted.length / 2)]!) / 2
}

/** A table for people. */
export function report(lines: readonly Line[]): string {
  const text = lines.map(({ name, start, end, bound, level }) => [
    name,
    show(start),
    show(end),
    bound === undefined ? "" : show(bound),
    level ? "" : "✗",
  ])
  const all = [["", "start", "end", "bound", ""], ...text]
  const width = [0, 1, 2, 3].map((i) => Math.max(...all.map((row) => row[i]!.length)))
  return all
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(width[0]!) : cell.padStart(width[i] ?? 1)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n")
}

const show = (n: number): string => (Math.abs(n) >= 100 ? Math.round(n).toLocaleString("en") : n.toFixed(1))

/** From what was measured to what is read. */
import type { Measured } from "./run.js"
import { scenarios } from "./scenarios/all.js"
import type { Line, Metrics, Scenario } from "./scenarios/scenario.js"
import { targetsOf } from "./targets.js"

/** pgtusk's number divided by the other's, by scenario and contestant: of rates, more than 1 is faster; of times, less than 1 is faster. */
export type Ratios = Record<string, Record<string, number>>

export function ratiosOf(measured: Measured): Ratios {
  const ratios: Ratios = {}
  for (const { name, metric } of scenarios) {
    const ours = measured[name]?.["pgtusk"]?.[metric]
    if (ours === undefined) continue
    const others = Object.entries(measured[name]!).filter(([contestant, metrics]) => contestant !== "pgtusk" && metrics[metric] !== undefined)
    ratios[name] = Object.fromEntries(others.map(([contestant, metrics]) => [contestant, significant(ours / metrics[metric]!)]))
  }
  return ratios
}

export function rounded(measured: Measured): Measured {
  const round = (metrics: Metrics): Metrics => Object.fromEntries(Object.entries(metrics).map(([key, value]) => [key, significant(value)]))
  return Object.fromEntries(
    Object.entries(measured).map(([scenario, rows]) => [
      scenario,
      Object.fromEntries(Object.entries(rows).map(([name, metrics]) => [name, round(metrics)])),
    ]),
  )
}

const significant = (value: number): number => (Number.isInteger(value) ? value : Number(value.toPrecision(4)))

/** For a terminal: what of it was to be reached. */
export function targetTable(measured: Measured): string {
  return targetsOf(measured)
    .map(({ scenario, text, value, reached }) => `${value === undefined ? "?" : reached ? "✓" : "✗"} ${scenario}: ${text}: ${shown(value)}`)
    .join("\n")
}

/** For a terminal. */
export function table(measured: Measured): string {
  const lines: string[] = []
  for (const scenario of scenarios) {
    const rows = measured[scenario.name]
    if (rows === undefined) continue
    const { columns, lines: found } = linesOf(scenario, rows)
    const cells = found.map(({ name, label, metrics }) => [`${name}${label}`, ...columns.map((column) => shown(metrics[column]))])
    const all = [["", ...columns], ...cells]
    const widths = all[0]!.map((_, i) => Math.max(...all.map((row) => row[i]!.length)))
    lines.push(
      "",
      scenario.title,
      ...all.map((row) =>
        row
          .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
          .join("  ")
          .trimEnd(),
      ),
    )
  }
  return lines.join("\n").trimStart()
}

/** The lines of a scenario's table, and its columns. */
export function linesOf(scenario: Scenario, rows: Measured[string]): { columns: string[]; lines: (Line & { name: string })[] } {
  const split = scenario.lines
  return {
    columns: split === undefined ? [scenario.metric, ...scenario.shown] : [...scenario.shown],
    lines: Object.entries(rows).flatMap(([name, metrics]) =>
      split === undefined
        ? [{ name, label: "", metrics }]
        : split(metrics).map((line) => ({ name, label: `, ${line.label}`, metrics: line.metrics })),
    ),
  }
}

export function shown(value: number | undefined): string {
  if (value === undefined) return "–"
  if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en")
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** A bar for each contestant, as SVG. */
import { shown } from "./report.js"
import type { Measured } from "./run.js"
import { scenarios } from "./scenarios/all.js"

const WIDTH = 760
const LABEL = 190
const VALUE = 80
const ROW = 24

export function chart(name: string, unit: string, rows: Measured[string]): string {
  const scenario = scenarios.find((one) => one.name === name)!
  const bars = Object.entries(rows)
    .flatMap(([contestant, metrics]) => (metrics[scenario.metric] === undefined ? [] : [{ contestant, value: metrics[scenario.metric]! }]))
    .sort((a, b) => (scenario.better === "higher" ? b.value - a.value : a.value - b.value))
  // A poll of seconds would leave nothing of the others.
  const longest = scenario.better === "higher" ? Math.max(...bars.map(({ value }) => value)) : 20 * Math.min(...bars.map(({ value }) => value))
  const height = 48 + bars.length * ROW
  const lines = bars.map(({ contestant, value }, i) => {
    const y = 40 + i * ROW
    const width = Math.max(1, Math.min(1, value / longest) * (WIDTH - LABEL - VALUE))
    const fill = contestant === "pgtusk" ? "#2563eb" : contestant === "floor" ? "#94a3b8" : "#cbd5e1"
    return `  <text x="${LABEL - 8}" y="${y + 15}" text-anchor="end">${contestant}</text>
  <rect x="${LABEL}" y="${y + 3}" width="${width.toFixed(1)}" height="${ROW - 8}" fill="${fill}"/>
  <text x="${(LABEL + width + 6).toFixed(1)}" y="${y + 15}">${shown(value)}</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="12">
  <title>${scenario.title}</title>
  <rect width="100%" height="100%" fill="#ffffff"/>
  <text x="12" y="22" font-size="14" font-weight="600">${scenario.title} (${unit}, ${scenario.better} is better)</text>
${lines.join("\n")}
</svg>
`
}

/** What the command line prints: results to standard output, everything about them to standard error. */

/** A line of the result. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** A line for whoever watches; a program that reads the result does not get it. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** Rows under their headings, a column as wide as its widest cell. Numbers stand right. */
export function table(headings: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const widths = headings.map((heading, i) => rows.reduce((width, row) => Math.max(width, String(row[i]).length), heading.length))
  const right = headings.map((_, i) => rows.length > 0 && rows.every((row) => typeof row[i] === "number"))
  const line = (cells: readonly (string | number)[]): string =>
    cells
      .map((cell, i) => (right[i] ? String(cell).padStart(widths[i]!) : String(cell).padEnd(widths[i]!)))
      .join("  ")
      .trimEnd()
  return [line(headings), ...rows.map(line)].join("\n")
}

/** A span of time as people say it: `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`. */
export function age(milliseconds: number): string {
  const ms = Math.max(0, milliseconds)
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 120_000) return `${Math.round(ms / 1_000)} s`
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`
  return `${Math.round(ms / 86_400_000)} d`
}

/** `1 job`, `2 jobs`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`
}

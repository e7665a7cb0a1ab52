/**
 * The candidate that a misspelt word most likely meant, or undefined when none is near. Counts insertions, deletions, substitutions and swaps of
 * neighbours (optimal string alignment), up to a third of the word, and takes a beginning for the whole (`prio` for `priority`).
 */
export function suggest(word: string, candidates: readonly string[]): string | undefined {
  const lower = word.toLowerCase()
  const limit = Math.max(1, Math.floor(word.length / 3))
  let best: string | undefined
  let bestDistance = limit + 1
  for (const candidate of candidates) {
    const other = candidate.toLowerCase()
    const isBeginning = lower.length >= 3 && (other.startsWith(lower) || lower.startsWith(other))
    const d = isBeginning ? Math.min(1, distance(lower, other)) : distance(lower, other)
    if (d < bestDistance) {
      best = candidate
      bestDistance = d
    }
  }
  return best
}

function distance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let d = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) d = Math.min(d, beforeLast[j - 2]! + 1)
      row.push(d)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}

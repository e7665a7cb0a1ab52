/**
 * The rule of cursors, watched from outside: after a hint every claim reads from below its seq, until one that was planned after the hint has
 * passed it.
 */
export class HintWatch {
  readonly #tick: () => number
  readonly #violated: (what: string) => void
  /** The lowest seqs that were hinted at, by priority, and when. */
  #owed: { priority: number; seq: number; at: number }[] = []
  #plans = new Map<number, { priorities: readonly number[]; cursors: readonly number[] }>()

  constructor(tick: () => number, violated: (what: string) => void) {
    this.#tick = tick
    this.#violated = violated
  }

  heard(priority: number, seq: number): void {
    if (priority < 32_768) this.#owed.push({ priority, seq, at: this.#tick() })
  }

  sent(planned: number, priorities: readonly number[], cursors: readonly number[]): void {
    this.#plans.clear()
    this.#plans.set(planned, { priorities, cursors })
    for (const { priority, seq, at } of this.#owed) {
      const lane = priorities.indexOf(priority)
      if (at < planned && (lane === -1 || cursors[lane]! >= seq))
        this.#violated(`a claim reads priority ${priority} from ${lane === -1 ? "nowhere" : cursors[lane]}, after a hint at ${seq}`)
    }
  }

  answered(planned: number, rows: readonly any[], limit: number): void {
    const plan = this.#plans.get(planned)
    if (plan === undefined) return
    const last = rows.length >= limit ? Math.max(...rows.map((row) => row[2])) : Number.POSITIVE_INFINITY
    const reached = (priority: number): number => Math.max(0, ...rows.filter((row) => row[2] === priority).map((row) => Number(row[1])))
    this.#owed = this.#owed.filter(({ priority, seq, at }) => at > planned || !(priority < last || reached(priority) >= seq))
  }
}

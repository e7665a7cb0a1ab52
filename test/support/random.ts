/** A small generator of random numbers that can be had again by their seed. */

export interface Random {
  readonly seed: number
  /** At least 0, below 1. */
  next(): number
  /** A whole number, both ends included. */
  int(min: number, max: number): number
  pick<T>(from: readonly T[]): T
  shuffle<T>(from: readonly T[]): T[]
  /** True with this probability. Default 0.5. */
  chance(probability?: number): boolean
}

/** SplitMix32: a few lines, good enough to vary inputs. */
export function randomFrom(seed: number): Random {
  let state = seed | 0
  const next = (): number => {
    state = (state + 0x9e3779b9) | 0
    let t = state ^ (state >>> 16)
    t = Math.imul(t, 0x21f0aaad)
    t ^= t >>> 15
    t = Math.imul(t, 0x735a2d97)
    return ((t ^ (t >>> 15)) >>> 0) / 2 ** 32
  }
  const int = (min: number, max: number): number => min + Math.floor(next() * (max - min + 1))
  return {
    seed,
    next,
    int,
    pick: (from) => {
      if (from.length === 0) throw new Error("pick() from an empty list")
      return from[int(0, from.length - 1)]!
    },
    shuffle: (from) => {
      const list = [...from]
      for (let i = list.length - 1; i > 0; i--) {
        const j = int(0, i)
        ;[list[i], list[j]] = [list[j]!, list[i]!]
      }
      return list
    },
    chance: (probability = 0.5) => next() < probability,
  }
}

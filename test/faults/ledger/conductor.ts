/** Injects faults until the time is over: a deck of them, shuffled by the seed, played by several hands; server faults one at a time. */
import { setTimeout as sleep } from "node:timers/promises"
import { FAULTS, type Stage } from "./faults.js"

export interface Injected {
  readonly counts: Map<string, number>
  total: number
}

export async function conduct(
  stage: Stage,
  names: readonly string[],
  untilMs: number,
  hands: number,
  log: (line: string) => void,
): Promise<Injected> {
  const injected: Injected = { counts: new Map(), total: 0 }
  const began = performance.now()
  let deck: string[] = []
  let serverBusy = false
  const draw = (): string | undefined => {
    if (deck.length === 0) deck = stage.random.shuffle(names)
    const at = deck.findIndex((name) => !(serverBusy && FAULTS[name]!.scope === "server"))
    return at < 0 ? undefined : deck.splice(at, 1)[0]
  }
  const play = async (): Promise<void> => {
    while (performance.now() < untilMs) {
      await sleep(stage.random.int(50, 700))
      const name = draw()
      if (name === undefined) continue
      const fault = FAULTS[name]!
      if (fault.scope === "server") serverBusy = true
      log(`${((performance.now() - began) / 1_000).toFixed(1)} s  ${name}`)
      try {
        if ((await fault.run(stage)) !== false) {
          injected.counts.set(name, (injected.counts.get(name) ?? 0) + 1)
          injected.total++
        }
      } catch (error) {
        // Another fault came in between.
        log(`       ${name} came to nothing: ${(error as Error).message}`)
      } finally {
        if (fault.scope === "server") serverBusy = false
      }
    }
  }
  await Promise.all(Array.from({ length: hands }, play))
  return injected
}

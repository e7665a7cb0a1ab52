/** Everything that is measured. */
import type { Contestant } from "./peer.js"

/** The module of each peer. Those of the packages are loaded only when they take part: they are installed with the bench, not with the library. */
const MODULES: Readonly<Record<string, string>> = {
  floor: "floor",
  pgtusk: "pgtusk",
  "graphile-worker": "graphile-worker",
  "pg-boss": "pg-boss",
  "bullmq-postgres": "bullmq",
  "bullmq-redis": "bullmq",
}

/** The name of the module, in this folder, that has the contestants of a peer. */
export function moduleOf(peer: string): string {
  return MODULES[peer]!
}

/** The contestants of these peers; null: all. pgtusk and the floor are among them always. */
export async function contestantsOf(peers: readonly string[] | null): Promise<Contestant[]> {
  const found: Contestant[] = []
  for (const file of new Set(["floor", "pgtusk", ...(peers ?? Object.keys(MODULES)).map((name) => MODULES[name]!)])) {
    const { contestants } = (await import(new URL(`./${file}.ts`, import.meta.url).href)) as { contestants: readonly Contestant[] }
    found.push(...contestants)
  }
  return found.filter(({ peer }) => peers === null || peer === "floor" || peer === "pgtusk" || peers.includes(peer))
}

/** What is to be called when a signal aborts, by signal. */
const waiting = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * Calls `work` when the signal aborts; returns what takes that back. A signal gets one listener of ours, however many waits share it: Node warns of a leak
 * above ten. `work` must not throw.
 */
export function onAbort(signal: AbortSignal, work: () => void): () => void {
  let works = waiting.get(signal)
  if (works === undefined) {
    const all = new Set<() => void>()
    works = all
    waiting.set(signal, all)
    signal.addEventListener(
      "abort",
      () => {
        for (const each of [...all]) each()
        all.clear()
      },
      { once: true },
    )
  }
  works.add(work)
  return () => works.delete(work)
}

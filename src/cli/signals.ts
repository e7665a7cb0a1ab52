/** Ctrl-C and SIGTERM on the command line. */
type StopSignal = "SIGINT" | "SIGTERM"
const NUMBERS: Readonly<Record<StopSignal, number>> = { SIGINT: 2, SIGTERM: 15 }

/**
 * Resolves with the first signal. Each further one ends the process at once, with the shell's code for it: whoever presses Ctrl-C twice means it.
 */
export function stopSignal(): Promise<StopSignal> {
  return new Promise((resolve) => {
    let told = false
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (told) process.exit(128 + NUMBERS[signal])
        told = true
        resolve(signal)
      })
    }
  })
}

/** What the demo prints: lines, and below them a bar that is redrawn in place. Without a terminal the bar becomes a line at every tenth. */
import { styleText } from "node:util"

type Style = Parameters<typeof styleText>[0]

const WIDTH = 30

export class Screen {
  readonly #out: NodeJS.WriteStream
  readonly #live: boolean
  readonly #colours: boolean
  #bar = ""
  #lastTenth = -1

  constructor(out: NodeJS.WriteStream = process.stdout) {
    this.#out = out
    this.#live = out.isTTY === true
    this.#colours = this.#live && process.env.NO_COLOR === undefined
  }

  style(style: Style, text: string): string {
    return this.#colours ? styleText(style, text) : text
  }

  line(text = ""): void {
    this.#out.write(this.#bar === "" ? `${text}\n` : `\r\u001b[K${text}\n${this.#bar}`)
  }

  done(text: string): void {
    this.line(`  ${this.style("green", "✓")} ${text}`)
  }

  trouble(text: string): void {
    this.line(`  ${this.style("red", "✗")} ${text}`)
  }

  /** Draws the bar, a fraction from 0 to 1 and what stands behind it. */
  bar(fraction: number, note: string): void {
    const text = `  ${drawBar(fraction)} ${String(Math.floor(fraction * 100)).padStart(3)} %  ${note}`
    if (this.#live) {
      this.#bar = text.slice(0, (this.#out.columns ?? 100) - 1)
      this.#out.write(`\r\u001b[K${this.#bar}`)
      return
    }
    const tenth = Math.floor(fraction * 10)
    if (tenth !== this.#lastTenth) this.#out.write(`${text}\n`)
    this.#lastTenth = tenth
  }

  /** Leaves the bar as it stands and goes on below it. */
  endBar(): void {
    if (this.#bar !== "") this.#out.write("\n")
    this.#bar = ""
    this.#lastTenth = -1
  }
}

export function drawBar(fraction: number): string {
  const full = Math.round(Math.min(Math.max(fraction, 0), 1) * WIDTH)
  return "█".repeat(full) + "░".repeat(WIDTH - full)
}

/** Rows of two columns, the second aligned. */
export function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `  ${name.padEnd(width)}   ${value}`)
}

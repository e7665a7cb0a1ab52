import { describe, expect, test } from "vitest"
import { SerialWork } from "../src/lib/serial-work.js"
import { deferred } from "./support/wait.js"

describe("SerialWork", () => {
  test("rounds never overlap, and asking during one makes just one more", async () => {
    let running = 0
    let rounds = 0
    const gate = deferred()
    const work = new SerialWork(async () => {
      expect(++running).toBe(1)
      rounds++
      await gate.promise
      running--
    })
    for (let i = 0; i < 5; i++) work.ask()
    await Promise.resolve()
    expect(rounds).toBe(1)
    for (let i = 0; i < 5; i++) work.ask()
    gate.resolve()
    await work.idle()
    expect(rounds).toBe(2)
  })

  test("whoever asks is heard, at whatever turn after the last round", async () => {
    for (let turns = 0; turns < 12; turns++) {
      let asked = 0
      let seen = 0
      const work = new SerialWork(async () => {
        seen = asked
      })
      asked++
      work.ask()
      for (let i = 0; i < turns; i++) await Promise.resolve()
      asked++
      work.ask()
      await work.idle()
      expect(seen, `asked ${turns} turns later`).toBe(2)
    }
  })

  test("idle resolves at once when nothing was asked for", async () => {
    await new SerialWork(() => Promise.reject(new Error("not asked for"))).idle()
  })
})

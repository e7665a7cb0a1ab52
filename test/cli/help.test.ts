import { readFile } from "node:fs/promises"
import { describe, expect, test } from "vitest"
import { age, table } from "../../src/cli/output.js"
import { collectQueue } from "../../src/cli/worker-queues.js"
import { cli } from "./run.js"

const LIMIT = 120_000

test("help, version and misspelt commands", { timeout: LIMIT }, async () => {
  const [bare, help, version, misspelt, worker] = await Promise.all([
    cli([]),
    cli(["--help"]),
    cli(["--version"]),
    cli(["migrat"]),
    cli(["worker", "--help"]),
  ])
  const manifest = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"))
  expect(help).toMatchObject({ code: 0, stderr: "" })
  for (const command of ["migrate", "dev", "worker", "status", "enqueue"]) expect(help.stdout).toMatch(new RegExp(`^  ${command} `, "m"))
  expect(bare).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("Usage: pgtusk") })
  expect(version).toMatchObject({ code: 0, stdout: manifest.version, stderr: "" })
  expect(misspelt).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(/unknown command 'migrat'\n\(Did you mean migrate\?\)/) })
  expect(worker.stdout).toContain("--queue <name=concurrency>")
})

describe("--queue", () => {
  test("collects names with and without a number", () => {
    expect(collectQueue("b", collectQueue("a=5"))).toEqual({ a: { concurrency: 5 }, b: {} })
    expect(collectQueue("x=y=2")).toEqual({ "x=y": { concurrency: 2 } })
  })
  test.each(["", "=3", "a=", "a=0", "a=-1", "a=1.5", "a=b"])("refuses %j", (text) => {
    expect(() => collectQueue(text)).toThrow(/Write a queue's name|no number of jobs/)
  })
})

test("tables: numbers right, words left, as wide as they need", () => {
  expect(
    table(
      ["NAME", "N"],
      [
        ["a", 5],
        ["longer", 1000],
      ],
    ),
  ).toBe("NAME       N\na          5\nlonger  1000")
  expect(table(["NAME"], [])).toBe("NAME")
})

test.each([
  [-5, "0 ms"],
  [0, "0 ms"],
  [999.6, "1000 ms"],
  [1_000, "1 s"],
  [119_000, "119 s"],
  [120_000, "2 min"],
  [7_200_000, "2 h"],
  [172_800_000, "2 d"],
] as const)("%d ms is %s", (ms, text) => {
  expect(age(ms)).toBe(text)
})

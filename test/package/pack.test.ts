/** The package as a stranger meets it: packed, installed in an empty project, used from there. */
import { existsSync } from "node:fs"
import { copyFile, readdir, readFile, stat } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { type Project, packedProject, root, run } from "./project.js"

const MINUTES = 60_000
const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url))
const own = JSON.parse(await readFile(join(root, "package.json"), "utf8"))

let project: Project
let db: TestDatabase
beforeAll(async () => {
  ;[project, db] = await Promise.all([packedProject(), createDatabase({ migrated: false })])
  for (const name of ["job.mjs", "job.cjs", "consumer.ts", "tsconfig.json"]) await copyFile(fixture(name), join(project.folder, name))
}, 5 * MINUTES)
afterAll(async () => {
  await project?.remove()
  await db?.close()
})

const inPackage = (path = ""): string => join(project.folder, "node_modules/pgtusk", path)
const filesUnder = async (path: string): Promise<string[]> => {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

describe("the tarball", () => {
  test("holds compiled code, its types, the pages that npm shows, and the licences of what is inside; nothing else", async () => {
    const files = (await filesUnder(inPackage())).map((file) => file.slice(inPackage().length + 1))
    expect(files.filter((file) => !/^dist\/(src|migrations)\/.*\.(js|d\.ts)$/.test(file)).sort()).toEqual(
      ["CHANGELOG.md", "LICENSE", "README.md", "dist/THIRD-PARTY-LICENSES.txt", "package.json"].filter(
        (name) => name.startsWith("dist/") || existsSync(join(root, name)),
      ),
    )
    expect(files).toEqual(expect.arrayContaining(["dist/src/index.js", "dist/src/index.d.ts", "dist/src/cli/main.js"]))
  })

  test("says what it is and what it needs", async () => {
    const packed = JSON.parse(await readFile(inPackage("package.json"), "utf8"))
    expect(packed).toMatchObject({ name: "pgtusk", type: "module", license: "MIT", engines: { node: ">=20.19" }, version: own.version })
    expect(packed.peerDependenciesMeta).toEqual(
      Object.fromEntries(Object.keys(packed.peerDependencies).map((name: string) => [name, { optional: true }])),
    )
  })

  test("has pg-listen inside, with the licences of all that came along, and installs none of it", async () => {
    const packages = Object.keys(JSON.parse(await readFile(join(project.folder, "package-lock.json"), "utf8")).packages)
    expect(packages.filter((name) => /\/(pg-listen|pg-format|typed-emitter|debug)$/.test(name))).toEqual([])
    const module = await readFile(inPackage("dist/src/postgres/notify/pg-listen.js"), "utf8")
    expect(module.match(/^import .*/gm)?.filter((line) => !/ from "node:\w+";$/.test(line))).toEqual(['import pg from "pg";'])
    const licences = await readFile(inPackage("dist/THIRD-PARTY-LICENSES.txt"), "utf8")
    expect(licences.match(/^\S+(?= [\d.]+ \(MIT\)$)/gm)).toEqual(["debug", "ms", "pg-format", "pg-listen"])
    expect(licences.match(/Permission is hereby granted/gi)).toHaveLength(4)
  })

  test("installs little", async () => {
    const packages = JSON.parse(await readFile(join(project.folder, "package-lock.json"), "utf8")).packages as Record<string, { dev?: boolean }>
    const names = Object.keys(packages).filter((name) => name !== "" && !/@types\/node$|undici-types$/.test(name))
    const sizes = await Promise.all(names.map(async (name) => sizeOf(join(project.folder, name))))
    const megabytes = sizes.reduce((sum, size) => sum + size, 0) / 2 ** 20
    process.stdout.write(
      `pgtusk installed: ${names.length} packages, ${megabytes.toFixed(1)} MiB (its own ${((await sizeOf(inPackage())) / 2 ** 20).toFixed(2)} MiB)\n`,
    )
    expect(names.length).toBeLessThanOrEqual(25)
    expect(megabytes).toBeLessThan(10)
  })

  const sizeOf = async (path: string): Promise<number> => {
    const sizes = await Promise.all((await filesUnder(path)).map(async (file) => (await stat(file)).size))
    return sizes.reduce((sum, size) => sum + size, 0)
  }
})

describe("in an empty project", () => {
  test(
    "import: migrates and runs a job",
    async () => {
      expect(await project.run(process.execPath, ["job.mjs"], { DATABASE_URL: db.url })).toBe("Hello, Ada (attempt 1)\n")
    },
    MINUTES,
  )

  test(
    "require: the same package, and a job",
    async () => {
      expect(await project.run(process.execPath, ["job.cjs"], { DATABASE_URL: db.url })).toBe("5 [ 'add' ]\n")
    },
    MINUTES,
  )

  test(
    "npx pgtusk",
    async () => {
      const help = await project.run("npx", ["--no-install", "pgtusk", "--help"])
      expect(help).toContain("migrate")
      expect(help).toContain("worker")
      expect(await project.run("npx", ["--no-install", "pgtusk", "--version"])).toBe(`${own.version}\n`)
    },
    MINUTES,
  )

  test(
    "its types need no types of pg, and hold under skipLibCheck: false",
    async () => {
      expect(existsSync(join(project.folder, "node_modules/@types/pg"))).toBe(false)
      await project.run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "."])
    },
    MINUTES,
  )
})

describe("linters of packages find nothing", () => {
  test(
    "publint",
    async () => {
      await run(root, process.execPath, ["node_modules/publint/src/cli.js", project.tarball, "--strict"])
    },
    MINUTES,
  )

  test(
    "are the types wrong?",
    async () => {
      await run(root, process.execPath, ["node_modules/@arethetypeswrong/cli/dist/index.js", project.tarball, "--profile", "esm-only", "--no-color"])
    },
    MINUTES,
  )
})

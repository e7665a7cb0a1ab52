/** The package in other people's builds: bundled by their tools, run where nothing else is, and beside other versions of its dependencies. */
import { copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { INSTALL, type Project, packedProject, run } from "../package/project.js"
import { createDatabase } from "../support/database.js"

const MINUTES = 60_000
/** Exact, so that a red test is ours. All of them run on Node.js 20. */
const TOOLS = [
  "esbuild@0.28.2",
  "rollup@4.68.8",
  "@rollup/plugin-node-resolve@16.0.3",
  "@rollup/plugin-commonjs@28.0.9",
  "@rollup/plugin-json@6.1.0",
  "webpack@5.113.0",
  "postject@1.0.0-alpha.6",
  "pnpm@10.34.9",
  "@yarnpkg/cli-dist@4.18.1",
]
const GREETED = "Hello, Ada (attempt 1)\n"
const REQUIRE = { js: 'import { createRequire as toRequire } from "node:module"; const require = toRequire(import.meta.url);' }
const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url))

let project: Project
beforeAll(async () => {
  project = await packedProject(TOOLS)
  for (const name of ["app.mjs", "tasks.mjs", "esbuild.mjs", "rollup.config.mjs", "webpack.mjs"])
    await copyFile(fixture(name), join(project.folder, name))
}, 8 * MINUTES)
afterAll(() => project?.remove())

/** A folder outside of the project, so that what runs in it finds no package but those it is given. */
async function emptyFolder(name: string): Promise<string> {
  const folder = join(project.folder, "..", name)
  await mkdir(folder, { recursive: true })
  return folder
}

/** Runs a program on a database of its own. */
async function runOnDatabase(folder: string, program: string, args: readonly string[] = []): Promise<string> {
  const db = await createDatabase({ migrated: false })
  try {
    return await run(folder, program, args, { DATABASE_URL: db.url })
  } finally {
    await db.close()
  }
}

const node = (folder: string, file: string): Promise<string> => runOnDatabase(folder, process.execPath, [file])

describe("a bundle alone in its folder migrates and runs a job", () => {
  test.each([
    ["esbuild, CommonJS", "cjs.cjs", { format: "cjs" }],
    ["esbuild, CommonJS, minified", "minified.cjs", { format: "cjs", minify: true }],
    ["esbuild, ES module, with require() from createRequire", "esm.mjs", { format: "esm", banner: REQUIRE }],
  ])("%s", { timeout: 3 * MINUTES }, async (_, file, options) => {
    const folder = await emptyFolder("esbuild")
    await project.run(process.execPath, ["esbuild.mjs", "app.mjs", join(folder, file), JSON.stringify(options)])
    expect(await node(folder, file)).toBe(GREETED)
  })

  test("Rollup", { timeout: 4 * MINUTES }, async () => {
    const folder = await emptyFolder("rollup")
    await project.run(process.execPath, ["node_modules/rollup/dist/bin/rollup", "-c", "rollup.config.mjs", "-o", join(folder, "app.mjs")])
    expect(await node(folder, "app.mjs")).toBe(GREETED)
  })

  test("webpack, in production mode", { timeout: 4 * MINUTES }, async () => {
    const folder = await emptyFolder("webpack")
    await project.run(process.execPath, ["webpack.mjs", folder])
    expect(await node(folder, "app.cjs")).toBe(GREETED)
  })
})

test("a single executable of Node.js, made from a bundle of esbuild, runs a job", { timeout: 5 * MINUTES }, async () => {
  const folder = await emptyFolder("executable")
  await project.run(process.execPath, ["esbuild.mjs", "app.mjs", join(folder, "bundle.cjs"), JSON.stringify({ format: "cjs" })])
  await writeFile(join(folder, "sea.json"), JSON.stringify({ main: "bundle.cjs", output: "app.blob", disableExperimentalSEAWarning: true }))
  await run(folder, process.execPath, ["--experimental-sea-config", "sea.json"])
  const executable = join(folder, "app")
  await copyFile(process.execPath, executable)
  const args = [executable, "NODE_SEA_BLOB", join(folder, "app.blob"), "--sentinel-fuse", "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2"]
  await project.run(process.execPath, ["node_modules/postject/dist/cli.js", ...args])
  await rm(join(folder, "bundle.cjs"))
  expect(await runOnDatabase(folder, executable)).toBe(GREETED)
})

describe("two bundles of one module in one process are one task", () => {
  test.each([
    ["the library outside of both", { packages: "external" }],
    ["the library outside of both, minified", { packages: "external", minify: true }],
    ["a library in each, and a third one in the program", { banner: REQUIRE }],
    ["a library in each, minified, and a third one in the program", { banner: REQUIRE, minify: true }],
  ])("%s", { timeout: 3 * MINUTES }, async (_, options) => {
    await copyFile(fixture("two-bundles.mjs"), join(project.folder, "two-bundles.mjs"))
    for (const name of ["page", "route"]) {
      await project.run(process.execPath, ["esbuild.mjs", "tasks.mjs", `${name}.mjs`, JSON.stringify({ format: "esm", ...options })])
    }
    expect(await node(project.folder, "two-bundles.mjs")).toBe("[ 3, 7 ]\n")
  })
})

test("Next.js 16, built by Turbopack: a page's action and a route enqueue, and a worker of the same server runs", {
  timeout: 10 * MINUTES,
}, async () => {
  const folder = await emptyFolder("next")
  await cp(fixture("next"), folder, { recursive: true })
  await writeFile(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true }))
  const compiler = `@next/swc-${process.platform}-${process.arch}${process.platform === "linux" ? "-gnu" : ""}@16.4.6`
  // Without what is optional, sharp above all; the compiler alone is named.
  await run(folder, "npm", [...INSTALL, "--omit=optional", project.tarball, "next@16.4.6", "react@19.2.7", "react-dom@19.2.7", compiler])
  await run(folder, process.execPath, ["node_modules/next/dist/bin/next", "build"], { NEXT_TELEMETRY_DISABLED: "1" })
  const greetings = "route: Hello, Ada (attempt 1)\naction: Hello, Eve (attempt 1) 200\n"
  expect(await runOnDatabase(folder, process.execPath, ["requests.mjs"])).toMatch(
    new RegExp(`^${greetings.replaceAll(/[()]/g, "\\$&")}end: (SIGTERM|0|143)\n$`),
  )
})

describe("a package manager that shows an application its own dependencies alone installs all that the library needs", () => {
  test("pnpm", { timeout: 4 * MINUTES }, async () => {
    const folder = await emptyFolder("pnpm")
    await writeFile(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }))
    await copyFile(fixture("app.mjs"), join(folder, "app.mjs"))
    const pnpm = join(project.folder, "node_modules/pnpm/bin/pnpm.cjs")
    await run(folder, process.execPath, [pnpm, "add", "--ignore-scripts", `--store-dir=${join(folder, "store")}`, project.tarball])
    expect((await readdir(join(folder, "node_modules"))).filter((name) => !name.startsWith("."))).toEqual(["pgtusk"])
    expect(await node(folder, "app.mjs")).toBe(GREETED)
  })

  test("Yarn 4 with Plug'n'Play: there is no node_modules", { timeout: 4 * MINUTES }, async () => {
    const folder = await emptyFolder("pnp")
    const dependencies = { pgtusk: `file:${project.tarball}` }
    await writeFile(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module", dependencies }))
    await writeFile(join(folder, ".yarnrc.yml"), "nodeLinker: pnp\nenableTelemetry: false\nenableScripts: false\nglobalFolder: ./global\n")
    await writeFile(join(folder, "yarn.lock"), "")
    await copyFile(fixture("app.mjs"), join(folder, "app.mjs"))
    const yarn = join(project.folder, "node_modules/@yarnpkg/cli-dist/bin/yarn.js")
    // Yarn reads no .npmrc.
    const registry = (await run(folder, "npm", ["config", "get", "registry"])).trim()
    await run(folder, process.execPath, [yarn, "install"], { YARN_ENABLE_IMMUTABLE_INSTALLS: "false", YARN_NPM_REGISTRY_SERVER: registry })
    expect(await readdir(folder)).not.toContain("node_modules")
    expect(await runOnDatabase(folder, process.execPath, [yarn, "node", "app.mjs"])).toBe(GREETED)
  })
})

describe("other versions of what the library depends on, in the application", () => {
  test("pg 8.8.0, kysely 0.27 and zod 3: a job, LISTEN, and a pool of that pg", { timeout: 8 * MINUTES }, async () => {
    const folder = await emptyFolder("versions")
    await writeFile(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }))
    await run(folder, "npm", [...INSTALL, project.tarball, "pg@8.8.0", "kysely@0.27.6", "zod@3.25.76"])
    const installed = async (path: string): Promise<string> =>
      JSON.parse(await readFile(join(folder, "node_modules", path, "package.json"), "utf8")).version
    expect([await installed("pg"), await installed("kysely"), await installed("zod")]).toEqual(["8.8.0", "0.27.6", "3.25.76"])
    expect(await installed("pgtusk/node_modules/pg")).not.toBe("8.8.0")
    expect(await installed("pgtusk/node_modules/kysely")).not.toBe("0.27.6")
    await copyFile(fixture("versions.mjs"), join(folder, "versions.mjs"))
    expect(await node(folder, "versions.mjs")).toBe("2\nlistening\n2\nlistening\nrefused\n")
  })
})

describe("Jest 30 with its stock settings, in a CommonJS project", () => {
  test("import() in a test, and a test that is an ES module, with --experimental-vm-modules", { timeout: 10 * MINUTES }, async () => {
    const folder = await emptyFolder("jest")
    await writeFile(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true }))
    await run(folder, "npm", [...INSTALL, project.tarball, "jest@30.5.2"])
    await copyFile(fixture("jest-job.js"), join(folder, "job.test.js"))
    await copyFile(fixture("jest-module.mjs"), join(folder, "module.test.mjs"))
    const db = await createDatabase()
    try {
      const env = { DATABASE_URL: db.url, NODE_OPTIONS: "--experimental-vm-modules" }
      const args = ["node_modules/jest/bin/jest.js", "--runInBand", "--json"]
      expect(JSON.parse(await run(folder, process.execPath, args, env))).toMatchObject({ success: true, numPassedTests: 2, numTotalTests: 2 })
    } finally {
      await db.close()
    }
  })
})

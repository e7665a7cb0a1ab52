/** The command line in a process of its own. */
import { mkdir, rm, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { build } from "esbuild"
import { afterAll, beforeAll } from "vitest"
import { SCRIPT } from "../support/bundle.js"
import { type Script, spawnScript } from "../support/process.js"

const ROOT = fileURLToPath(new URL("../..", import.meta.url))
// Compiled once for a test file, since these tests start dozens of processes and tsx takes a second for each. Inside of node_modules, so that it
// finds the dependencies; with a manifest, so that the fixtures find it by its name as in an application.
const OUT = `${ROOT}node_modules/.cache/pgtusk-cli-test-${process.pid}`

const FIXTURES = ["configured", "mail", "methods", "no-tasks", "throws"]

beforeAll(async () => {
  await mkdir(OUT, { recursive: true })
  await writeFile(`${OUT}/package.json`, JSON.stringify({ name: "pgtusk", type: "module", exports: "./src/index.js" }))
  await build({
    ...SCRIPT,
    entryPoints: [`${ROOT}src/index.ts`, `${ROOT}src/cli/main.ts`, ...FIXTURES.map((name) => `${ROOT}test/cli/fixtures/${name}.ts`)],
    outdir: OUT,
    outbase: ROOT,
    splitting: true,
  })
})

afterAll(async () => {
  await rm(OUT, { recursive: true, force: true })
})

export interface CliOutcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Starts it and leaves it running; it is killed at the end of the test. */
export function startCli(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd?: string): Script {
  return spawnScript(`${OUT}/src/cli/main.js`, args, env, cwd === undefined ? {} : { cwd })
}

/** Runs it to its end. */
export async function cli(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd?: string): Promise<CliOutcome> {
  const script = startCli(args, env, cwd)
  const { code } = await script.exit
  return { code, stdout: script.lines.join("\n"), stderr: script.stderr }
}

/** Errors are told in sentences: no frames of a stack. */
export const STACK: RegExp = /^\s+at .*[(/].*:\d+:\d+\)?$/m

/** A compiled module of the fixtures. */
export function fixture(name: (typeof FIXTURES)[number]): string {
  return `${OUT}/test/cli/fixtures/${name}.js`
}

/** Its source, which only a Node.js that strips types can run. */
export function typescriptFixture(name: string): string {
  return `${ROOT}test/cli/fixtures/${name}.ts`
}

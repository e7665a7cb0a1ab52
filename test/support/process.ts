/** Real processes in tests: a TypeScript fixture that runs on its own and can be killed. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { relative } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { buildSync } from "esbuild"
import { inject, onTestFinished } from "vitest"
import { SCRIPT } from "./bundle.js"
import { deferred } from "./wait.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
/** What this process has compiled. */
const compiled = new Map<string, string>()

export interface ScriptExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Script {
  readonly pid: number
  /** Standard output so far, a line each. */
  readonly lines: readonly string[]
  /** Standard error so far. */
  readonly stderr: string
  /** Resolves when the process is gone and its output is read. */
  readonly exit: Promise<ScriptExit>
  /**
   * The first line, printed already or later, that contains the text, matches the expression or satisfies the function.
   * Rejects after `timeout` ms (default 15,000), and at once when the process ends without it.
   */
  line(match: string | RegExp | ((line: string) => boolean), timeout?: number): Promise<string>
  /** Writes a line to its standard input. */
  send(line: string): void
  kill(signal?: NodeJS.Signals): void
}

export interface ScriptOptions {
  /** Default: the repository's root. */
  cwd?: string
  /** Who to run as; needs root. */
  uid?: number
  gid?: number
}

/**
 * Runs a TypeScript file in a process of its own. `import … from "pgtusk"` works in it. Call it in a test: when that test ends the process
 * is killed (SIGKILL) if it still runs. In hooks use `startScript` and kill it yourself.
 *
 *     const worker = spawnScript(new URL("./fixtures/worker.ts", import.meta.url), [], { DATABASE_URL: db.url })
 *     await worker.line("ready")
 *     worker.kill("SIGKILL")
 *     await worker.exit
 */
export function spawnScript(file: string | URL, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}, options: ScriptOptions = {}): Script {
  const script = startScript(file, args, env, options)
  onTestFinished(async () => {
    script.kill("SIGKILL")
    await script.exit
  })
  return script
}

/** A bundle costs a tenth of a second, once. */
function compile(path: string): string {
  const known = compiled.get(path)
  if (known !== undefined) return known
  const outfile = `${inject("scripts")}/${process.pid}/${relative(root, path).replaceAll("/", "-")}.mjs`
  buildSync({
    ...SCRIPT,
    entryPoints: [path],
    outfile,
    alias: { pgtusk: `${root}src/index.ts` },
  })
  compiled.set(path, outfile)
  return outfile
}

/** `spawnScript` without the clean-up at the end of the test. */
export function startScript(file: string | URL, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}, options: ScriptOptions = {}): Script {
  const path = typeof file === "string" ? file : fileURLToPath(file)
  const child = spawn(process.execPath, [path.endsWith(".ts") ? compile(path) : path, ...args], {
    cwd: options.cwd ?? root,
    env: { ...inherited(), ...env },
    stdio: ["pipe", "pipe", "pipe"],
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  })
  const lines: string[] = []
  const watchers = new Set<(line: string | undefined) => void>()
  let stderr = ""
  let ended: ScriptExit | undefined
  const exit = deferred<ScriptExit>()

  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line)
    for (const watcher of [...watchers]) watcher(line)
  })
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk
  })
  // A write to a process that has just died is no failure of the test.
  child.stdin.on("error", () => {})
  child.on("error", (error) => exit.reject(error))
  void once(child, "close").then(
    ([code, signal]) => {
      ended = { code, signal }
      for (const watcher of [...watchers]) watcher(undefined)
      exit.resolve(ended)
    },
    () => {},
  )

  const account = (): string => `\nstdout:\n${lines.slice(-20).join("\n")}\nstderr:\n${stderr.slice(-4000)}`

  return {
    pid: child.pid ?? 0,
    lines,
    get stderr() {
      return stderr
    },
    exit: exit.promise,
    line(match, timeout = 15_000) {
      const fits = (line: string): boolean =>
        typeof match === "string" ? line.includes(match) : match instanceof RegExp ? new RegExp(match.source, match.flags).test(line) : match(line)
      return new Promise((resolve, reject) => {
        const known = lines.find(fits)
        if (known !== undefined) return resolve(known)
        const fail = (why: string): void => reject(new Error(`${path} ${why} a line that fits ${match}${account()}`))
        if (ended !== undefined) return fail(`ended (code ${ended.code}, signal ${ended.signal}) without`)
        const done = (): void => {
          clearTimeout(timer)
          watchers.delete(watcher)
        }
        const watcher = (line: string | undefined): void => {
          if (line === undefined) {
            done()
            fail(`ended (code ${ended?.code}, signal ${ended?.signal}) without`)
          } else if (fits(line)) {
            done()
            resolve(line)
          }
        }
        const timer = setTimeout(() => {
          done()
          fail(`did not print within ${timeout} ms`)
        }, timeout)
        watchers.add(watcher)
      })
    },
    send(line) {
      child.stdin.write(`${line}\n`)
    },
    kill(signal = "SIGTERM") {
      if (ended === undefined) child.kill(signal)
    },
  }
}

/** The environment without what the test runner adds for its own processes. */
function inherited(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_OPTIONS|NODE_ENV|TEST$|DATABASE_URL$)/.test(name)))
}

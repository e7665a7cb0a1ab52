/** The package as users get it: packed, and installed in an empty project. */
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

export const root: string = fileURLToPath(new URL("../..", import.meta.url))

/** What a package is made from; not the folder itself, since others may build or test in it. */
const SOURCES = ["package.json", "tsconfig.json", "README.md", "CHANGELOG.md", "LICENSE", "src", "migrations", "scripts"]

export interface Project {
  readonly tarball: string
  /** The folder of the project that has it installed. */
  readonly folder: string
  /** Runs a program in the project's folder; its standard output. Rejects with all it printed when it fails. */
  run(command: string, args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string>
  remove(): Promise<void>
}

/** For installs: nothing waits for long on a registry that does not answer, and nothing of a package runs. */
export const INSTALL = ["install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=2", "--fetch-timeout=60000"]

/** Packs a copy of the repository, `prepack` and all, and installs the tarball with npm in an empty project, with `packages` beside it. */
export async function packedProject(packages: readonly string[] = []): Promise<Project> {
  const home = await mkdtemp(join(await realpath(tmpdir()), "pgtusk-package-"))
  try {
    const copy = join(home, "copy")
    const folder = join(home, "project")
    for (const path of [copy, folder]) await mkdir(path)
    for (const name of SOURCES) if (existsSync(join(root, name))) await cp(join(root, name), join(copy, name), { recursive: true })
    await symlink(join(root, "node_modules"), join(copy, "node_modules"))
    await run(copy, "npm", ["pack", "--pack-destination", home])
    const tarball = join(home, (await readdir(home)).find((name) => name.endsWith(".tgz")) ?? "no tarball")

    await writeFile(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }))
    // Types of Node as any project in TypeScript has them; of the version that is in npm's cache since the repository was installed.
    const { version } = JSON.parse(await readFile(join(root, "node_modules/@types/node/package.json"), "utf8"))
    await run(folder, "npm", [...INSTALL, tarball, `@types/node@${version}`, ...packages])
    return {
      tarball,
      folder,
      run: (command, args, env) => run(folder, command, args, env),
      remove: () => rm(home, { recursive: true, force: true }),
    }
  } catch (error) {
    await rm(home, { recursive: true, force: true })
    throw error
  }
}

/** Runs a program; its standard output. */
export function run(cwd: string, command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { cwd, env: { ...outside(), ...env }, timeout: 420_000, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${command} ${args.join(" ")}: ${error.code ?? error.signal}\n${stdout}\n${stderr}`))
    })
  })
}

/** The environment without what npm and vitest put there for this run: the project is none of theirs. */
function outside(): NodeJS.ProcessEnv {
  const ours = /^(npm_(package|lifecycle|config_local_prefix)|VITEST|NODE_ENV|NODE_OPTIONS|NODE_PATH|TSX_|DATABASE_URL|PGTUSK_)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)))
}

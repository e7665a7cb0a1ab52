/** The program of a fleet's members: one file, since fifty processes that compile TypeScript at their start would take minutes. */
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { build } from "esbuild"

const bench = fileURLToPath(new URL("..", import.meta.url))

/** Returns the path of the program. It finds its packages where the bench's are. */
export async function bundleMember(module: string): Promise<string> {
  const folder = join(bench, "node_modules", ".cache", "pgtusk-fleet")
  await mkdir(folder, { recursive: true })
  const outfile = join(folder, `${module}-${process.pid}.mjs`)
  const contents = `import { serve } from "./fleet/child.ts"\nimport { contestants } from "./peers/${module}.ts"\nserve(contestants)\n`
  await build({
    stdin: { contents, resolveDir: bench },
    outfile,
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "warning",
  })
  return outfile
}

/** How scripts are compiled that run in processes of their own: a loader would take a second of each. Put it inside of node_modules, so that it finds the dependencies. */
import { mkdir, writeFile } from "node:fs/promises"
import { type BuildOptions, build } from "esbuild"

export const SCRIPT = {
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  packages: "external",
  sourcemap: "inline",
  // The manifest says that the library has no side effects; scripts have.
  ignoreAnnotations: true,
  logLevel: "warning",
} as const satisfies BuildOptions

/** Compiles scripts into a folder of their own, which whoever asks for it removes. */
export async function compileInto(folder: string, entryPoints: string[], options: Pick<BuildOptions, "alias"> = {}): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(`${folder}/package.json`, JSON.stringify({ type: "module" }))
  await build({ ...SCRIPT, ...options, entryPoints, outdir: folder })
}

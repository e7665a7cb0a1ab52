/** How scripts are compiled that run in processes of their own: a loader would take a second of each. Put it inside of node_modules, so that it finds the dependencies. */
import type { BuildOptions } from "esbuild"

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

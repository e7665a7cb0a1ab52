/** The library under test: dist as users get it, or another build that PGTUSK_BENCH_LIBRARY names by its URL. */
type Library = typeof import("../src/index.js")

let loaded: Promise<Library> | undefined

export function library(): Promise<Library> {
  loaded ??= import(process.env["PGTUSK_BENCH_LIBRARY"] ?? new URL("../dist/src/index.js", import.meta.url).href) as Promise<Library>
  return loaded
}

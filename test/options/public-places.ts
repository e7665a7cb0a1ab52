/** Every place of a public call that takes a value, read from the types: `Queue.clean(options).grace`. */
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = fileURLToPath(new URL("../../", import.meta.url))

/**
 * Follows what is exported: functions and classes, what they return and what their properties hold. In a place, `.name` is a property, `[]` an
 * element, `{}` a value by name, and `()` what a callback returns.
 */
export function publicPlaces(): string[] {
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    types: [],
    noEmit: true,
  }
  const host = ts.createCompilerHost(options)
  // Without other people's packages, whose types take the most of the time and are none of our options.
  host.resolveModuleNameLiterals = (literals, file, redirected, compilerOptions) =>
    literals.map(({ text }) =>
      text.startsWith(".") ? ts.resolveModuleName(text, file, compilerOptions, host, undefined, redirected) : { resolvedModule: undefined },
    )
  const index = `${root}src/index.ts`
  const program = ts.createProgram([index], options, host)
  return new Reader(program.getTypeChecker()).read(program.getSourceFile(index)!)
}

class Reader {
  readonly #checker: ts.TypeChecker
  readonly #places = new Set<string>()
  /** What the package exports; the rest is its own. */
  readonly #exported = new Set<string>()
  readonly #seen = new Set<string>()

  constructor(checker: ts.TypeChecker) {
    this.#checker = checker
  }

  read(index: ts.SourceFile): string[] {
    const exported = this.#checker
      .getExportsOfModule(this.#checker.getSymbolAtLocation(index)!)
      .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol))
    for (const symbol of exported) this.#exported.add(symbol.name)
    for (const symbol of exported) {
      if (!(symbol.flags & ts.SymbolFlags.Value)) continue
      const type = this.#checker.getTypeOfSymbolAtLocation(symbol, index)
      for (const signature of type.getConstructSignatures()) this.#call(`new ${symbol.name}`, signature)
      for (const signature of type.getCallSignatures()) this.#call(symbol.name, signature)
    }
    return [...this.#places].sort()
  }

  #call(name: string, signature: ts.Signature): void {
    for (const parameter of signature.getParameters()) {
      const { dotDotDotToken } = parameter.valueDeclaration as ts.ParameterDeclaration
      this.#place(`${name}(${dotDotDotToken === undefined ? "" : "..."}${parameter.name})`, this.#typeOf(parameter), [])
    }
    this.#members(signature.getReturnType())
  }

  /** What may be written at a place, and inside of what is written there. `within`: the types that this is inside of. */
  #place(place: string, type: ts.Type, within: readonly ts.Type[]): void {
    this.#places.add(place)
    for (const part of this.#parts(type)) {
      if (within.includes(part)) continue
      const inside = [...within, part]
      const element = this.#elementOf(part)
      const named = part.getStringIndexType()
      if (element !== undefined) this.#place(`${place}[]`, element, inside)
      else if (part.getCallSignatures().length > 0) for (const one of part.getCallSignatures()) this.#answer(place, one, inside)
      else if (named !== undefined) this.#place(`${place}{}`, named, inside)
      else if (this.#isPlain(part)) for (const p of part.getProperties()) this.#place(`${place}.${p.name}`, this.#typeOf(p), inside)
      else this.#members(part)
    }
  }

  /** A callback: what it returns is a value too, and what it is given has calls of its own. */
  #answer(place: string, signature: ts.Signature, within: readonly ts.Type[]): void {
    for (const parameter of signature.getParameters()) this.#members(this.#typeOf(parameter))
    const type = this.#checker.getAwaitedType(signature.getReturnType()) ?? signature.getReturnType()
    const anything = ts.TypeFlags.Void | ts.TypeFlags.Unknown | ts.TypeFlags.Any | ts.TypeFlags.TypeParameter
    if (!(type.flags & anything)) this.#place(`${place}()`, type, within)
  }

  /** The calls of something that is handed out. */
  #members(type: ts.Type): void {
    for (const part of this.#parts(this.#checker.getAwaitedType(type) ?? type)) {
      const element = this.#elementOf(part)
      if (element !== undefined) this.#members(element)
      const owner = this.#nameOf(part)
      if (owner === undefined || this.#seen.has(owner)) continue
      this.#seen.add(owner)
      for (const member of part.getProperties()) {
        if (/^(__[@#]|~)/.test(member.name)) continue
        const declared = this.#typeOf(member)
        for (const signature of declared.getCallSignatures()) this.#call(`${owner}.${member.name}`, signature)
        if (declared.getCallSignatures().length === 0) this.#members(declared)
      }
    }
  }

  #elementOf(type: ts.Type): ts.Type | undefined {
    return this.#checker.isArrayLikeType(type) ? type.getNumberIndexType() : undefined
  }

  #parts(type: ts.Type): ts.Type[] {
    const real = type.flags & ts.TypeFlags.TypeParameter ? (this.#checker.getBaseConstraintOfType(type) ?? type) : type
    const parts = real.isUnion() || (real.isIntersection() && !this.#isPlain(real)) ? real.types.flatMap((part) => this.#parts(part)) : [real]
    return parts.filter((part) => part.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection))
  }

  #nameOf(type: ts.Type): string | undefined {
    return [type.aliasSymbol, type.symbol].find((symbol) => symbol !== undefined && this.#exported.has(symbol.name))?.name
  }

  /** An object of options: declared by us, and nothing but data. */
  #isPlain(type: ts.Type): boolean {
    const properties = type.getProperties()
    const ours = [type.symbol, type.aliasSymbol, ...properties].some((symbol) =>
      symbol?.getDeclarations()?.some((declaration) => declaration.getSourceFile().fileName.startsWith(`${root}src/`)),
    )
    return ours && properties.length > 0 && properties.every((p) => !(p.flags & ts.SymbolFlags.Method) && !/^(__[@#]|~)/.test(p.name))
  }

  #typeOf(symbol: ts.Symbol): ts.Type {
    return this.#checker.getNonNullableType(this.#checker.getTypeOfSymbol(symbol))
  }
}

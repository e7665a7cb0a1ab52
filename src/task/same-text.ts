/**
 * Whether two functions have the same text but for names that a minifier chose: it gives the same variable another name in each bundle, as `next build`
 * does for a page and a route. Only names of up to three characters may differ, and each must stand for one and the same other name throughout;
 * properties, keys, strings and everything longer must be equal.
 */
export function sameButForShortNames(a: string, b: string): boolean {
  if (a.length > MAX_LENGTH || b.length > MAX_LENGTH) return false
  const left = tokensOf(a)
  const right = tokensOf(b)
  if (left.length !== right.length) return false
  const there = new Map<string, string>()
  const back = new Map<string, string>()
  return left.every(({ text, renamed }, i) => {
    const other = right[i]!
    if (!renamed || !other.renamed) return text === other.text && renamed === other.renamed
    if (!there.has(text)) there.set(text, other.text)
    if (!back.has(other.text)) back.set(other.text, text)
    return there.get(text) === other.text && back.get(other.text) === text
  })
}

/** Longer functions are compared as they are. */
const MAX_LENGTH = 100_000
const MAX_NAME = 3
const WORDS = new Set(["as", "do", "get", "if", "in", "let", "new", "of", "set", "try", "var", "for"])
const SPACE = /\s+/y
const NAME = /[\p{ID_Start}$_][\p{ID_Continue}$]*/uy
const STRING = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/sy
const REGEX = /\/(?![*/])(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y
const TEMPLATE = /(?:[^`\\$]|\\.|\$(?!\{))*(?:`|\$\{)/sy

interface Token {
  readonly text: string
  /** It may be a name that a minifier chose. */
  readonly renamed: boolean
}

/** The tokens of a function, as far as they are needed to tell names from the rest. */
function tokensOf(source: string): Token[] {
  const tokens: Token[] = []
  // For each template that we are inside of, how many braces of its expression are open.
  const templates: number[] = []
  let at = 0
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at
    const text = pattern.exec(source)?.[0]
    at += text?.length ?? 0
    return text
  }
  const fixed = (text: string): void => void tokens.push({ text, renamed: false })
  const template = (): void => {
    const text = take(TEMPLATE) ?? source.slice(at++, at)
    fixed(text)
    if (text.endsWith("${")) templates.push(0)
  }
  while (at < source.length) {
    take(SPACE)
    const before = tokens.at(-1)?.text ?? ""
    const word = take(NAME)
    if (word !== undefined) {
      const key = (before === "{" || before === ",") && /^\s*:/.test(source.slice(at, at + 20))
      tokens.push({ text: word, renamed: word.length <= MAX_NAME && before !== "." && !key && !WORDS.has(word) })
      continue
    }
    const literal = take(STRING) ?? (/^$|[(,=:[!&|?{};>]$|^return$/.test(before) ? take(REGEX) : undefined)
    if (literal !== undefined) {
      fixed(literal)
      continue
    }
    const sign = source[at++]
    if (sign === undefined) break
    fixed(sign)
    const open = templates.length - 1
    if (sign === "`") template()
    else if (sign === "{" && open >= 0) templates[open]!++
    else if (sign === "}" && open >= 0 && templates[open]!-- === 0) {
      templates.pop()
      template()
    }
  }
  return tokens
}

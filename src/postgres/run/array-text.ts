/**
 * Arrays as Postgres reads them. pg writes them too, but looks at each element as if it could be anything; a thousand jobs are some ten thousand
 * elements.
 */

/** Of numbers, ids and words of ours: nothing in them is quoted. */
export function arrayOfWords(words: readonly (string | number | null)[]): string {
  let text = "{"
  for (let i = 0; i < words.length; i++) text += i === 0 ? words[i] : `,${words[i]}`
  return `${text}}`
}

/** Of any texts. */
export function arrayOfTexts(texts: readonly (string | null)[]): string {
  let text = "{"
  for (let i = 0; i < texts.length; i++) {
    const element = texts[i]!
    text += i === 0 ? quoted(element) : `,${quoted(element)}`
  }
  return `${text}}`
}

function quoted(text: string | null): string {
  if (text === null) return "null"
  return `"${text.includes('"') || text.includes("\\") ? text.replace(/["\\]/g, "\\$&") : text}"`
}

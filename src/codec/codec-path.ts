/** A step into a value: an index, a property, or text for what has neither (the members of a Map or Set). */
export type Segment = number | string | { readonly text: string }

/** `$.items[3].callback`, with keys that are no identifiers in brackets: `$["first name"]`. */
export function formatPath(segments: readonly Segment[]): string {
  let path = "$"
  for (const segment of segments) {
    if (typeof segment === "number") path += `[${segment}]`
    else if (typeof segment === "object") path += segment.text
    else path += /^[\p{ID_Start}_$][\p{ID_Continue}$]*$/u.test(segment) ? `.${segment}` : `[${JSON.stringify(segment)}]`
  }
  return path
}

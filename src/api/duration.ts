/** A length of time. A bare number is **seconds** (`ttl: 60`); a string carries its unit (`"250ms"`, `"10m"`, `"1d"`). */
export type Duration = number | `${number}${"ms" | "s" | "m" | "h" | "d" | "w"}`

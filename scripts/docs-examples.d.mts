/** A fenced block of a page. */
export interface Block {
  readonly page: string
  readonly line: number
  readonly endLine: number
  readonly language: string
  readonly mark: string
  readonly code: string
}
/** A block that runs by itself; `output` is what it is to print, where the page says so. */
export interface Program extends Block {
  readonly output: string | undefined
}
export function pages(): string[]
export function read(page: string): string
export function blocksOf(page: string): Block[]
export function programs(): Program[]
export function checkTypes(): string[]
export function wrongMarks(): string[]

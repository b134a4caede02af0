// The append-only JSONL file behind the store: one line is one whole step (a request, an engine step), so a line
// cut short by a kill is a step that never happened. Compacted when it is opened.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'

/** `[kind, id, object]` puts, `[kind, id]` deletes. */
export type Entry = [kind: string, id: string, object?: unknown]

export class Journal {
  readonly #file: string
  #fd: number | undefined

  constructor(file: string) {
    this.#file = file
  }

  /** Reads every complete step in order. */
  replay(apply: (entry: Entry) => void): void {
    if (!existsSync(this.#file)) return
    for (const line of readFileSync(this.#file, 'utf8').split('\n')) {
      if (line === '') continue
      let step: Entry[]
      try {
        step = JSON.parse(line) as Entry[]
      } catch {
        return
      }
      for (const entry of step) apply(entry)
    }
  }

  /** Replaces the file by the present state, then opens it for appending. */
  compact(entries: Iterable<Entry>): void {
    mkdirSync(dirname(this.#file), { recursive: true })
    // it holds e-mail addresses and the secrets of webhook endpoints
    const lines = Array.from(entries, (entry) => `${JSON.stringify([entry])}\n`)
    const fresh = `${this.#file}.new`
    writeFileSync(fresh, lines.join(''), { mode: 0o600 })
    renameSync(fresh, this.#file)
    this.#fd = openSync(this.#file, 'a', 0o600)
  }

  append(entries: Entry[]): void {
    if (this.#fd !== undefined) writeSync(this.#fd, `${JSON.stringify(entries)}\n`)
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }
}

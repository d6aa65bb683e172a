/** The lines of a log, as it comes in. Very long logs lose their beginning. */
import { clean } from "./format.ts"

const most = 200_000

/** Characters of all lines: a guest decides how long they are. */
const mostCharacters = 32 * 1024 * 1024

/** Characters that are kept of a line until it ends: more than are shown, for some of them are not. */
const longest = 64 * 1024

/** Adds to a line that has not ended. What comes before its last return is written over, and not shown anyway. */
const grow = (line: string, text: string): string => {
  const length = line.length + text.length
  if (length <= longest) return line + text
  if (line.length === longest && !line.endsWith("\r") && !text.includes("\r")) return line
  const all = line + text
  return all.slice(all.lastIndexOf("\r", length - 2) + 1).slice(0, longest)
}

export interface Line {
  readonly text: string
  readonly kind: "stdout" | "stderr" | "note" | "system"
}

export class Lines {
  /** Replaced when something is added. */
  all: Array<Line> = []
  dropped = 0
  private characters = 0
  private readonly rest = new Map<Line["kind"], string>()

  /** Adds a piece, which can end within a line. */
  add(text: string, kind: Line["kind"] = "stdout"): void {
    const [first = "", ...others] = text.split("\n")
    let rest = grow(this.rest.get(kind) ?? "", first)
    for (const other of others) {
      this.push(rest, kind)
      rest = grow("", other)
    }
    this.rest.set(kind, rest)
    this.drop()
  }

  private push(text: string, kind: Line["kind"]): void {
    const line = { text: clean(text), kind }
    this.all.push(line)
    this.characters += line.text.length
  }

  /** Drops the first lines if there are too many: some more than necessary, so that it is done now and then only. */
  private drop(): void {
    if (this.all.length <= most * 1.1 && this.characters <= mostCharacters * 1.1) return
    let from = 0
    while (this.all.length - from > most || this.characters > mostCharacters) {
      this.characters -= this.all[from++]?.text.length ?? 0
    }
    this.dropped += from
    this.all = this.all.slice(from)
  }

  /** Adds a line that is not part of the output. */
  note(text: string): void {
    this.flush()
    this.push(text, "note")
  }

  /** Ends lines that have no end yet. */
  flush(): void {
    for (const [kind, text] of this.rest) if (text !== "") this.push(text, kind)
    this.rest.clear()
  }

  clear(): void {
    this.all = []
    this.dropped = 0
    this.characters = 0
    this.rest.clear()
  }
}

/** The lines of a log, as it comes in. Very long logs lose their beginning. */
import { clean } from "./format.ts"

const most = 200_000

export interface Line {
  readonly text: string
  readonly kind: "stdout" | "stderr" | "note" | "system"
}

export class Lines {
  /** Replaced when something is added. */
  all: Array<Line> = []
  dropped = 0
  private readonly rest = new Map<Line["kind"], string>()

  /** Adds a piece, which can end within a line. */
  add(text: string, kind: Line["kind"] = "stdout"): void {
    const parts = `${this.rest.get(kind) ?? ""}${text}`.split("\n")
    this.rest.set(kind, parts.pop() ?? "")
    for (const part of parts) this.all.push({ text: clean(part), kind })
    if (this.all.length > most * 1.1) {
      this.dropped += this.all.length - most
      this.all = this.all.slice(-most)
    }
  }

  /** Adds a line that is not part of the output. */
  note(text: string): void {
    this.flush()
    this.all.push({ text, kind: "note" })
  }

  /** Ends lines that have no end yet. */
  flush(): void {
    for (const [kind, text] of this.rest) if (text !== "") this.all.push({ text: clean(text), kind })
    this.rest.clear()
  }

  clear(): void {
    this.all = []
    this.dropped = 0
    this.rest.clear()
  }
}

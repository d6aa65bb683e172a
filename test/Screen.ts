/**
 * A terminal that tests can read.
 */
import headless from "@xterm/headless"
import * as Effect from "effect/Effect"
import type { Output } from "../src/BuildReporter.ts"

/** A terminal of a size, with a history that is long enough for any test. */
export class Screen implements Output {
  readonly isTTY = true
  /** Everything that was written, in its original chunks. */
  readonly written: Array<string> = []
  private readonly terminal: headless.Terminal

  constructor(size: { readonly columns: number; readonly rows: number }) {
    this.terminal = new headless.Terminal({
      cols: size.columns,
      rows: size.rows,
      scrollback: 100_000,
      allowProposedApi: true
    })
  }

  get columns(): number {
    return this.terminal.cols
  }

  get rows(): number {
    return this.terminal.rows
  }

  write(text: string): boolean {
    this.written.push(text)
    this.terminal.write(text)
    return true
  }

  /** Changes the size of the window. */
  resize(size: { readonly columns: number; readonly rows: number }): Effect.Effect<void> {
    return Effect.andThen(
      this.settled,
      Effect.sync(() => this.terminal.resize(size.columns, size.rows))
    )
  }

  /** What a person sees and can scroll to: lines without trailing blanks, and without empty lines at the end. */
  get lines(): Effect.Effect<ReadonlyArray<string>> {
    return Effect.andThen(
      this.settled,
      Effect.sync(() => {
        const { active } = this.terminal.buffer
        // A line keeps what is beyond the edge of a window that was made narrower.
        const lines = Array.from(
          { length: active.length },
          (_, y) => active.getLine(y)?.translateToString(true, 0, this.terminal.cols) ?? ""
        )
        return lines.slice(0, lines.findLastIndex((line) => line !== "") + 1)
      })
    )
  }

  /** The positions of lines that begin in the middle of a text, because it did not fit into the line before. */
  get broken(): Effect.Effect<ReadonlyArray<number>> {
    return Effect.andThen(
      this.settled,
      Effect.sync(() => {
        const { active } = this.terminal.buffer
        return Array.from({ length: active.length }, (_, y) => y).filter((y) => active.getLine(y)?.isWrapped)
      })
    )
  }

  /** The colors of a line's characters: -1 is the terminal's own. */
  colors(y: number): Effect.Effect<ReadonlyArray<number>> {
    return Effect.andThen(
      this.settled,
      Effect.sync(() => {
        const line = this.terminal.buffer.active.getLine(y)
        return Array.from({ length: line?.length ?? 0 }, (_, x) => line?.getCell(x)?.getFgColor() ?? -1)
      })
    )
  }

  /** How the terminal is set: whether a text goes on in the next line, where the cursor is. */
  get state(): Effect.Effect<{ readonly wraps: boolean; readonly cursor: readonly [x: number, y: number] }> {
    return Effect.andThen(
      this.settled,
      Effect.sync(() => ({
        wraps: this.terminal.modes.wraparoundMode,
        cursor: [this.terminal.buffer.active.cursorX, this.terminal.buffer.active.cursorY] as const
      }))
    )
  }

  /** The terminal takes what is written later. */
  private get settled(): Effect.Effect<void> {
    return Effect.callback((resume) => this.terminal.write("", () => resume(Effect.void)))
  }
}

/** The logs of a sandbox. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { InvalidConfig } from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"

/** The size at which the runtime starts a new log file. */
const keptBytes = 16 * 1024 * 1024

const cursorPattern = /^memory-(\d+)$/

interface Entry {
  readonly number: number
  /** Milliseconds since 1970. */
  readonly at: number
  readonly source: Microsandbox.LogEntry["source"]
  readonly session: number | undefined
  readonly bytes: Uint8Array
}

export class Log {
  private entries: Array<Entry> = []
  private bytes = 0
  private count = 0
  private sessions = 0

  /** A number for another command. */
  nextSession(): number {
    return ++this.sessions
  }

  add(at: number, source: Entry["source"], session: number | undefined, bytes: Uint8Array): void {
    this.entries.push({ number: ++this.count, at, source, session, bytes })
    this.bytes += bytes.length
    while (this.bytes > keptBytes) this.bytes -= this.entries.shift()?.bytes.length ?? 0
  }

  /** A line of the runtime. */
  system(at: number, line: string): void {
    this.add(at, "system", undefined, new TextEncoder().encode(`${line}\n`))
  }

  /** The last lines of the runtime, oldest first. */
  lastLines(count: number): ReadonlyArray<string> {
    return this.entries
      .filter(({ source }) => source === "system")
      .slice(-count)
      .map(({ bytes }) => new TextDecoder().decode(bytes).trimEnd())
  }

  read(query: Microsandbox.LogQuery = {}): Effect.Effect<ReadonlyArray<Microsandbox.LogEntry>, InvalidConfig> {
    return Effect.suspend(() => {
      const { after, sources = ["stdout", "stderr", "output"], tail } = query
      const position = after === undefined ? 0 : Number(cursorPattern.exec(after)?.[1])
      if (Number.isNaN(position)) {
        return Effect.fail(new InvalidConfig({ field: "after", problem: "expected the cursor of a log entry" }))
      }
      const found = this.entries.filter(({ number, source }) => number > position && sources.includes(source))
      return Effect.succeed(
        (tail === undefined || after !== undefined ? found : found.slice(-tail)).map(
          ({ at, bytes, number, session, source }) =>
            new Microsandbox.LogEntry({
              timestamp: DateTime.makeUnsafe(at),
              source,
              session,
              bytes,
              cursor: `memory-${number}`
            })
        )
      )
    })
  }
}

/** Parts of a guest's output and files that fit into a result. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type * as Guest from "../../Guest.ts"
import type { Job } from "../../Job.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Jobs from "../sandbox/jobs.ts"

/** Bytes of text in a result. */
export const maxBytes = 30_000

/** Matches in a result. */
export const maxMatches = 200

/** Characters of a match. */
export const maxLine = 400

const isContinuation = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80

/** Length of the end of a character whose beginning was cut off. */
const cutBeginning = (bytes: Uint8Array): number => {
  let length = 0
  while (length < 3 && isContinuation(bytes[length])) length++
  return length
}

/** Length of the beginning of a character whose end is missing. */
const cutEnd = (bytes: Uint8Array): number => {
  for (let length = 1; length <= 3; length++) {
    const byte = bytes[bytes.length - length] ?? 0
    if (isContinuation(byte)) continue
    const whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return whole > length ? length : 0
  }
  return 0
}

const decodeText = (bytes: Uint8Array): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)

/** A part of a job's output. */
export interface Output {
  readonly output: string
  readonly from: number
  readonly next: number
  readonly note?: string
}

const count = (bytes: number): string => bytes.toLocaleString("en-US")

/** Reads a job's output from an offset, or its end. */
export const outputOf = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  job: Job,
  since: number | undefined
): Effect.fn.Return<Output, LightboxError> {
  const end = yield* Jobs.logEnd(guest, job.id)
  const wanted = since ?? Math.max(0, end - maxBytes)
  const pieces: Array<Uint8Array> = []
  let from = wanted
  let length = 0
  let lost = ""
  yield* Stream.runForEachWhile(job.logs({ since: wanted }), (event) =>
    Effect.sync(() => {
      if (event._tag === "Missing") {
        if (length > 0) return false
        from = event.offset + event.bytes
        lost = event.bytes === 0 ? "Output was lost here: the disk was full." : "Earlier output is no longer kept."
        return true
      }
      pieces.push(event.bytes.subarray(0, maxBytes - length))
      length += pieces.at(-1)?.length ?? 0
      return length < maxBytes
    })
  )
  const bytes = Buffer.concat(pieces)
  const skipped = since === undefined && from > 0 ? cutBeginning(bytes) : 0
  from += skipped
  const isEnd = from - skipped + bytes.length >= end
  const whole = bytes.subarray(skipped, bytes.length - (isEnd ? 0 : cutEnd(bytes)))
  const next = from + whole.length
  const notes = [
    lost,
    since === undefined && from > 0 ? `${count(from)} bytes before this are not shown: since 0 reads them.` : "",
    isEnd ? "" : `${count(end - next)} bytes after this are not shown: since ${next} reads on.`
  ].filter((note) => note !== "")
  return { output: decodeText(whole), from, next, ...(notes.length === 0 ? {} : { note: notes.join(" ") }) }
})

/** Lines of a file. */
export interface Lines {
  readonly content: string
  readonly next?: number
  readonly note?: string
}

const newline = 10

/** Reads whole lines of a file, or nothing if it is not a text file. */
export const linesOf = Effect.fnUntraced(function* <E>(
  file: Stream.Stream<Uint8Array, E>,
  first: number
): Effect.fn.Return<Lines | undefined, E> {
  const pieces: Array<Uint8Array> = []
  let line = 1
  let length = 0
  let isLineOpen = false
  yield* Stream.runForEachWhile(file, (bytes) =>
    Effect.sync(() => {
      let start = 0
      while (line < first) {
        const end = bytes.indexOf(newline, start)
        isLineOpen = end === -1 && (start < bytes.length || isLineOpen)
        if (end === -1) return true
        start = end + 1
        line++
      }
      // One byte more shows whether the file goes on.
      pieces.push(bytes.subarray(start, start + maxBytes + 1 - length))
      length += pieces.at(-1)?.length ?? 0
      return length <= maxBytes
    })
  )
  const bytes = Buffer.concat(pieces)
  if (bytes.includes(0)) return undefined
  if (bytes.length === 0 && first > 1) {
    return { content: "", note: `The file has ${line - 1 + (isLineOpen ? 1 : 0)} lines.` }
  }
  if (bytes.length <= maxBytes) return { content: decodeText(bytes) }
  const end = bytes.lastIndexOf(newline, maxBytes - 1) + 1
  if (end === 0) {
    const cut = bytes.subarray(0, maxBytes)
    const content = decodeText(cut.subarray(0, maxBytes - cutEnd(cut)))
    return { content, next: first + 1, note: `Line ${first} is longer and was cut: use run, such as cut -c.` }
  }
  const whole = bytes.subarray(0, end)
  const next = first + whole.reduce((lines, byte) => (byte === newline ? lines + 1 : lines), 0)
  return { content: decodeText(whole), next, note: `The file goes on: line ${next} reads on.` }
})

/** Matches of a search. */
export interface Matches {
  readonly matches: ReadonlyArray<string>
  readonly note?: string
}

/** Takes as many matches as fit. */
export const matchesOf = (found: ReadonlyArray<string>): Matches => {
  const matches: Array<string> = []
  let length = 0
  for (const match of found) {
    const shown = match.length > maxLine ? `${match.slice(0, maxLine)}…` : match
    length += Buffer.byteLength(shown)
    if (matches.length === maxMatches || length > maxBytes) {
      return { matches, note: "There are more: use a deeper path, a glob or a narrower pattern." }
    }
    matches.push(shown)
  }
  return { matches }
}

import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { Frames } from "../../../src/internal/interpreter/frames.ts"

const marker = "\0lightbox 0123 "

const frame = (kind: "F" | "M" | "L" | "S", text: string) =>
  `${marker}${kind}${String(Buffer.byteLength(text)).padStart(4, "0")}${text}`

/** Reads pieces of an output, and joins what was printed. */
const read = (pieces: ReadonlyArray<Uint8Array>, maxBytes = 1000) => {
  const frames = new Frames(marker, () => maxBytes)
  const printed: Array<Uint8Array> = []
  const messages: Array<string | undefined> = []
  for (const piece of pieces.flatMap((bytes) => frames.push(bytes))) {
    if (piece._tag === "Output") printed.push(piece.bytes)
    else messages.push(piece.text)
  }
  printed.push(frames.end())
  return { printed: Buffer.concat(printed).toString("latin1"), messages }
}

/** Cuts bytes into pieces of some lengths. */
const cut = (bytes: Uint8Array, lengths: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const pieces: Array<Uint8Array> = []
  let at = 0
  for (const length of lengths) {
    pieces.push(bytes.subarray(at, at + length))
    at += length
  }
  return [...pieces, bytes.subarray(at)]
}

const lengths = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 20 })))

describe("the frames of a kernel", () => {
  it.prop("are found wherever the output is cut", [lengths], ([lengths]) => {
    const text = `one\0${frame("F", "ab")}two${frame("L", "cd")}\0light${frame("S", "{}")}${marker}S0x`
    const { messages, printed } = read(cut(Buffer.from(text), lengths))
    assert.deepStrictEqual(messages, ["abcd", "{}"])
    assert.strictEqual(printed, `one\0two\0light${marker}S0x`)
  })

  it("of a message that was cut off do not belong to the next", () => {
    const { messages } = read([Buffer.from(frame("F", "lost") + frame("S", "whole"))])
    assert.deepStrictEqual(messages, ["whole"])
  })

  it("of a message that is too long have no text, and take no memory", () => {
    const long = frame("F", "a".repeat(600)) + frame("M", "b".repeat(600)) + frame("L", "c")
    assert.deepStrictEqual(read([Buffer.from(long + frame("S", "next"))]).messages, [undefined, "next"])
  })

  it("with a wrong head are output", () => {
    assert.deepStrictEqual(read([Buffer.from(`${marker}X0002ab`)]), { messages: [], printed: `${marker}X0002ab` })
  })
})

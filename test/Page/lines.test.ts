/** The lines of a log in the page. */
import { assert, describe, it } from "@effect/vitest"
import { Lines } from "../../src/internal/page/client/lines.ts"

const texts = ({ all }: Lines) => all.map(({ text }) => text)

describe("the lines of a log", () => {
  it("are put together from pieces, each stream for itself", () => {
    const lines = new Lines()
    lines.add("one\ntw")
    lines.add("oops", "stderr")
    lines.add("o\r\nthree\rfour")
    lines.flush()
    assert.deepStrictEqual(texts(lines), ["one", "two", "four", "oops"])
  })

  it("stay bounded while a line does not end", () => {
    const lines = new Lines()
    const piece = "x".repeat(1024 * 1024)
    // More than a string can have.
    for (let count = 0; count < 600; count++) lines.add(piece)
    lines.add("the end\nnext\n")
    assert.lengthOf(lines.all, 2)
    assert.match(lines.all[0]?.text ?? "", /^x{4000}…$/)
    assert.strictEqual(lines.all[1]?.text, "next")
  })

  it("stay bounded when there are many long ones, and lose the first", () => {
    const lines = new Lines()
    const count = 12_000
    const long = "x".repeat(3990)
    for (let at = 1; at <= count; at++) lines.add(`${at} ${long}\n`)
    assert.isBelow(
      lines.all.reduce((sum, { text }) => sum + text.length, 0),
      40 * 1024 * 1024
    )
    assert.strictEqual(lines.dropped + lines.all.length, count)
    assert.match(lines.all[0]?.text ?? "", new RegExp(`^${lines.dropped + 1} x`))
    assert.match(lines.all.at(-1)?.text ?? "", new RegExp(`^${count} x`))
  })

  it("show what was written last over a line that does not end", () => {
    const lines = new Lines()
    for (let count = 0; count <= 20_000; count++) lines.add(`\rdownloaded ${count} of 20000`)
    lines.add("\r\n")
    assert.deepStrictEqual(texts(lines), ["downloaded 20000 of 20000"])
  })
})

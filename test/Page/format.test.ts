/** How the page shows numbers and texts. */
import { assert, describe, it } from "@effect/vitest"
import * as Format from "../../src/internal/page/client/format.ts"

describe("a text that is sent in parts", () => {
  it("is cut between characters only", () => {
    for (const text of ["", "abcdefg", "aé😀😀b😀", "😀".repeat(5)]) {
      for (const most of [2, 3, 4, 100]) {
        const parts = Format.cut(text, most)
        assert.strictEqual(parts.join(""), text)
        for (const part of parts) {
          assert.isAtMost(part.length, most)
          assert.isTrue(part.isWellFormed(), JSON.stringify(part))
        }
      }
    }
  })
})

describe("a text of a guest", () => {
  const reordered = "invoice\u202efdp.exe"

  it("shows a mark for what would hide or reorder it", () => {
    assert.strictEqual(Format.plainLine(reordered), "invoice\ufffdfdp.exe")
    assert.strictEqual(Format.plainLine("README.md\n\r\u001b[2K"), "README.md\ufffd\ufffd\ufffd[2K")
    assert.strictEqual(Format.plain("if (a) {\u2066\r\n\tb\n}"), "if (a) {\ufffd\n\tb\n}")
    assert.strictEqual(Format.plain("\u061c\u009b"), "\ufffd\ufffd")
  })

  it("fits in a line, if it describes a step or a command", () => {
    assert.strictEqual(Format.oneLine(`\n  echo one\r\n  echo ${reordered}\n`), "echo one echo invoice\ufffdfdp.exe")
  })

  it("is what a terminal would show, in a log", () => {
    assert.strictEqual(Format.clean("10 %\r100 % \u001b[32mdone\u001b[0m\u202e\u061c\r"), "100 % done")
  })
})

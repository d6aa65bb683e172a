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

import { assert, describe, it } from "@effect/vitest"
import { modules } from "../../.docs/modules.ts"
import * as Pages from "../../.docs/pages.ts"
import * as Sources from "./sources.ts"

describe("documentation site", () => {
  it("has a reference for every public module, once", () => {
    assert.deepStrictEqual(modules.flatMap(({ names }) => names).toSorted(), Sources.entryPoints.toSorted())
  })

  it("gives headings the anchors that links in the documents use", () => {
    assert.strictEqual(Pages.slugify("From 0.1 and `0.2`"), "from-01-and-02")
  })

  it("omits what the signature already says", () => {
    const page =
      "## models\n\n#### Returns\n\n`string`\n\n#### Inherited from\n\n`Base.name`\n\n#### Stability\n\nunstable\n"
    assert.strictEqual(Pages.tidy(page), "## Models\n\n*Stability: unstable*\n")
  })
})

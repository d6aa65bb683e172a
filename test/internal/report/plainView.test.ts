/** The view of builds that prints line by line. */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type { BuildEvent } from "../../../src/BuildEvent.ts"
import * as Lines from "../../../src/internal/report/buildLine.ts"
import * as PlainView from "../../../src/internal/report/plainView.ts"

const finished = (buildId: string): BuildEvent => ({
  _tag: "Finished",
  buildId,
  snapshot: "tools",
  sequence: 0,
  at: DateTime.makeUnsafe(0),
  duration: Duration.millis(1),
  stepsRun: 1,
  stepsReused: 0
})

describe("a view that prints line by line", () => {
  it("ignores events that arrive twice, and remembers a bounded number of builds for it", () => {
    const { accept } = PlainView.make()
    for (let count = 0; count < Lines.mostEnded; count++) assert.lengthOf(accept(finished(`build-${count}`)), 1)
    assert.deepStrictEqual(accept(finished("build-0")), [])
    accept(finished("another"))
    // Forgotten, as the one that ended longest ago.
    assert.lengthOf(accept(finished("build-0")), 1)
    assert.deepStrictEqual(accept(finished("build-2")), [])
  })
})

import { assert, describe, it } from "@effect/vitest"
import { type BuildEvent, buildSnapshot, getBuild, listBuilds } from "../../src/promise.ts"
import { rejection, twin, untyped, wrongField } from "./support.ts"

twin()

const image = "debian:12"

const build = async (...setup: ReadonlyArray<string>): Promise<ReadonlyArray<BuildEvent>> => {
  const events: Array<BuildEvent> = []
  await buildSnapshot({ name: "tools", image, setup: [...setup] }, { onEvent: (event) => void events.push(event) })
  return events
}

describe("recorded builds", () => {
  it("are listed, the last one first, for a snapshot and up to a limit", async () => {
    await build("echo one")
    await buildSnapshot({ name: "other", image, setup: ["echo other"] })
    await rejection(build("exit 3"))
    const all = await listBuilds()
    assert.deepStrictEqual(
      all.map(({ snapshot, status, stepsRun }) => [snapshot, status, stepsRun]),
      [
        ["tools", "failed", 1],
        ["other", "built", 1],
        ["tools", "built", 1]
      ]
    )
    assert.deepInclude(all[0], { imageRef: image, reason: "CommandFailed" })
    assert.instanceOf(all[0]?.startedAt, Date)
    assert.isNumber(all[0]?.durationMillis)
    assert.match(all[0]?.caller.declaredAt ?? "", /^test\/promise\/builds\.test\.ts:\d+$/)
    assert.deepStrictEqual(
      (await listBuilds({ snapshot: "tools", limit: 1 })).map(({ id }) => id),
      [all[0]?.id]
    )
  })

  it("have steps with reasons and output, and their events", async () => {
    const events = await build("echo one", "echo two")
    const [summary] = await listBuilds()
    const record = await getBuild(summary?.id ?? "")
    assert.deepStrictEqual(
      record.steps.map(({ attempts, outcome, output, reason }) => [outcome, attempts, reason?._tag, ...output]),
      [
        ["ran", 1, "NeverBuilt", "one"],
        ["ran", 1, "EarlierChanged", "two"]
      ]
    )
    assert.instanceOf(record.steps[0]?.startedAt, Date)
    assert.deepStrictEqual(record.events, events)
    // It is plain data.
    const parsed = JSON.parse(JSON.stringify(record))
    assert.deepInclude(parsed, JSON.parse(JSON.stringify(summary)))
    assert.lengthOf(parsed.steps, 2)
  })

  it("can be compared and exported", async () => {
    await build("echo one", "echo two")
    await build("echo one", "echo zwei")
    const [last, first] = await listBuilds()
    const after = await getBuild(last?.id ?? "")
    const before = await getBuild(first?.id ?? "")
    const comparison = before.compareTo(after)
    assert.deepStrictEqual(
      comparison.steps.map(({ change, why }) => [change, why?._tag]),
      [
        ["same", undefined],
        ["changed", "ArgumentsChanged"]
      ]
    )
    assert.deepStrictEqual(comparison.after, last)
    assert.isNumber(comparison.steps[0]?.before?.durationMillis)
    assert.include(
      after.toTrace().traceEvents.map(({ name }) => name),
      "2 echo zwei"
    )
    assert.include(JSON.stringify(after.toOtlp()), '"name":"2 echo zwei"')
    assert.throws(() => before.compareTo(untyped(after)), /Invalid after: expected a record that getBuild returned/)
  })

  it("that are unknown are rejected", async () => {
    const { hint, reason } = await rejection(getBuild("a-b-c"))
    assert.deepInclude(reason, { _tag: "NotFound", resource: "build", name: "a-b-c" })
    assert.include(hint, "listBuilds()")
    assert.strictEqual(wrongField(await rejection(getBuild("../a"))), "id")
  })
})

/** What a program notes on the hosts of a fleet. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Ownership from "../../src/Ownership.ts"
import { makeNotes } from "../../src/internal/driver/fleet/home.ts"
import type { Reached } from "../../src/internal/driver/fleet/hosts.ts"

describe("notes on hosts", () => {
  it.effect("are made once for each session, and again in a new one", () =>
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const local = yield* Ownership.Ownership
      const session = { owner: "first" }
      const noted = new Array<string>()
      const host: Reached = {
        id: "a",
        driver,
        ownership: {
          ...local,
          id: Effect.sync(() => session.owner),
          note: ({ kind, name }) => Effect.sync(() => noted.push(`${session.owner}: ${kind} ${name}`))
        }
      }
      const notes = makeNotes({
        local,
        hosts: {
          all: Effect.succeed([]),
          alive: Effect.succeed([]),
          at: (_method, _id, use) => use(host),
          everywhere: () => Effect.succeed([])
        },
        hostOf: () => Effect.succeed("a"),
        holders: () => Effect.succeed(["a"])
      })
      yield* notes.ownership.note({ kind: "use", token: "1", name: "app" })
      yield* notes.ownership.note({ kind: "sandbox", token: "2", name: "one" })
      yield* notes.tell(host, "sandbox", "one")
      yield* notes.tell(host, "sandbox", "one")
      yield* notes.tell(host, "sandbox", "other")
      assert.deepStrictEqual(noted, ["first: use app", "first: sandbox one"])
      session.owner = "second"
      yield* notes.tell(host, "sandbox", "one")
      assert.deepStrictEqual(noted.slice(2), ["second: use app", "second: sandbox one"])
    }).pipe(Effect.provide(MicrosandboxMemory.layer()))
  )
})

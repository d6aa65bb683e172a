/** What several processes build at once. */
import type * as Effect from "effect/Effect"
import * as Snapshot from "../../../src/Snapshot.ts"

/** The same definition for all of them, whatever its second step does. */
export const shared = (second: Effect.Effect<void>): Snapshot.Definition =>
  Snapshot.make("shared", "debian:12").pipe(
    Snapshot.shell("echo one > /root/version"),
    Snapshot.step("second", () => second),
    Snapshot.shell("echo three > /root/version; echo written")
  )

/**
 * A program of a fleet that launches, runs and builds until it is ended: `worker.ts DIRECTORY FOLDER JOURNAL`. Commands
 * write their ids to the file `ran` of the folder. The journal tells when an operation began, and what came of it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import type { LightboxError } from "../../../src/LightboxError.ts"
import * as MicrosandboxFleet from "../../../src/MicrosandboxFleet.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import * as Snapshot from "../../../src/Snapshot.ts"
import { Line } from "../journal.ts"

const [directory = "", folder = "", journal = ""] = process.argv.slice(2)

const encode = Schema.encodeSync(Schema.fromJsonString(Line))

const write = (line: Line) => Effect.sync(() => Fs.appendFileSync(journal, `${encode(line)}\n`))

/** Notes an operation, and returns its result. A defect ends the program. */
const noted = Effect.fnUntraced(function* <A, R>(
  operation: Line["operation"],
  effect: (id: string) => Effect.Effect<A, LightboxError, R>
) {
  const id = Crypto.randomUUID()
  yield* write({ operation, id })
  const [time, result] = yield* Effect.timed(Effect.result(effect(id)))
  const seconds = Duration.toSeconds(time)
  yield* write(
    Result.isSuccess(result)
      ? { operation, id, seconds, ended: "succeeded" }
      : {
          operation,
          id,
          seconds,
          ended: result.failure.outcome,
          reason: result.failure.reason._tag,
          message: result.failure.message
        }
  )
  return result
})

const resources = { memory: "128M" } as const

const work = Effect.gen(function* () {
  // Few names: others want them as well.
  const name = `box-${yield* Random.nextIntBetween(1, 4)}`
  const scope = yield* Scope.make()
  const launched = yield* noted("launch", () =>
    Sandbox.launch({ image: "busybox", name, resources, mounts: { "/shared": folder } }).pipe(Scope.provide(scope))
  )
  if (Result.isSuccess(launched)) {
    for (let count = 0; count < 3; count++) {
      // Most of its time it runs, so that what breaks does so in the middle of it.
      yield* noted("command", (id) => launched.success.shell(`echo ${id} >> /shared/ran; sleep 1`, { check: true }))
    }
  }
  yield* noted("close", () => Scope.close(scope, Exit.void))
  yield* noted("build", (id) =>
    Snapshot.build(
      Snapshot.make("app", "busybox").pipe(Snapshot.resources(resources), Snapshot.shell(`echo ${id} > /root/id`)),
      { keep: 2 }
    )
  )
})

Effect.forever(work).pipe(
  Effect.provide(
    MicrosandboxFleet.layer({ directory, token: Redacted.make("a-token-of-the-tests"), home: `${journal}.home` })
  ),
  NodeRuntime.runMain
)

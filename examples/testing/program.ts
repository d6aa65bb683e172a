/**
 * Grades what students hand in: each program runs in its own microVM, so that it can do no harm, and has ten
 * seconds to print the answer.
 */
import * as Effect from "effect/Effect"
import type { Services } from "effect-lightbox/Driver"
import type { LightboxError } from "effect-lightbox/LightboxError"
import * as Sandbox from "effect-lightbox/Sandbox"

export type Grade = "right" | "wrong" | "too slow"

/** A machine that dies is not the student's fault: there is a second try, in another one. */
export const grade = (submission: string): Effect.Effect<Grade, LightboxError, Services> =>
  Sandbox.run({ image: "node:22" }, (sandbox) =>
    Effect.gen(function* () {
      yield* sandbox.writeFileString("/root/submission.js", submission)
      const { stdout } = yield* sandbox.exec("node", ["/root/submission.js"], { timeout: "10 seconds" })
      return stdout.trim() === "42" ? ("right" as const) : ("wrong" as const)
    })
  ).pipe(
    Effect.catchReason("LightboxError", "TimedOut", () => Effect.succeed("too slow" as const)),
    Effect.retry({ while: ({ reason }) => reason._tag === "GuestLost", times: 1 })
  )

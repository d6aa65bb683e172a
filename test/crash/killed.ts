/** How a killed process ends. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"

/** Fails unless an error of a process says that it was killed. */
export const killedBy = (error: PlatformError): undefined => {
  assert.include(String(error.cause), "'SIGKILL'")
}

/** Waits for the end of a process, and fails unless it was killed. */
export const killed = (child: ChildProcessHandle): Effect.Effect<void> =>
  Effect.match(child.exitCode, {
    onFailure: killedBy,
    onSuccess: (status) => assert.fail(`it ended with status ${status}`)
  })

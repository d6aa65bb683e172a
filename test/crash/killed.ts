/** How a killed process ends. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"

/** Waits for the end of a process, and fails unless it was killed. */
export const killed = (child: ChildProcessHandle): Effect.Effect<void> =>
  Effect.match(child.exitCode, {
    onFailure: (error) => assert.include(String(error.cause), "'SIGKILL'"),
    onSuccess: (status) => assert.fail(`it ended with status ${status}`)
  })

/** The examples of Effect's own services in a sandbox, and of a language model's tools, wherever the sandbox is. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, type Vitest } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import * as SandboxTools from "effect-lightbox/SandboxTools"
import * as AgentTools from "../../examples/agent-tools/program.ts"
import { archive } from "../../examples/services/archive.ts"
import * as Services from "../../examples/services/program.ts"
import type * as Driver from "../../src/Driver.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxServices from "../../src/SandboxServices.ts"

/** What an effect prints, line by line. */
const printed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.andThen(effect, TestConsole.logLines).pipe(Effect.provide(TestConsole.layer, { local: true }))

/** The sandbox of the examples. */
export const sandbox = Sandbox.layer({ image: "busybox", network: "none", resources: { cpus: 1, memory: "128M" } })

/** A test for each example. */
export const register = (it: Vitest.MethodsNonLive<Sandbox.Sandbox | Driver.Services>): void => {
  it.effect("a program prints the same on the host and in a sandbox", () =>
    Effect.gen(function* () {
      const program = printed(Services.program(archive))
      const inSandbox = yield* Effect.provide(program, SandboxServices.layer)
      assert.deepStrictEqual(inSandbox, [
        "unpacked install.sh, slug, test.sh",
        "installed bin, bin/slug",
        "| ok Hello, World!",
        "| ok   spaces   and_signs ",
        "| ok 9 lives",
        "| ok ***",
        "the tests ended with 0",
        "4 passed, 0 failed"
      ])
      assert.deepStrictEqual(yield* Effect.provide(program, NodeServices.layer), inSandbox)
    })
  )

  it.effect("a language model uses its tools until it can answer", () =>
    Effect.gen(function* () {
      const agent = Effect.provide(AgentTools.program, [AgentTools.model, SandboxTools.layer()])
      const [first, ...others] = yield* printed(agent)
      assert.match(
        String(first),
        /^run: \{"status":"exited","exitCode":(2|127),"output":"[^"]*primes.sh[^"]*","from":0,"next":\d+\}$/
      )
      assert.deepStrictEqual(others, [
        'write: {"bytes":180}',
        'run: {"status":"exited","exitCode":0,"output":"1 2 3 5 7 11 13 17 19 23 29 ","from":0,"next":28}',
        'edit: {"replaced":1}',
        'run: {"status":"exited","exitCode":0,"output":"","from":0,"next":0}',
        'read: {"content":"2 3 5 7 11 13 17 19 23 29 "}',
        "answer: 2 3 5 7 11 13 17 19 23 29"
      ])
    })
  )
}

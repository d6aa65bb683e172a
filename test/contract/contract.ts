/**
 * What every backend does, as a suite of cases.
 *
 * They are written against the service alone: whoever provides it, `Sandbox` and
 * everything above it must find the same. The twin in memory is held to it as
 * the real one is, and where the two differ, the twin is mended.
 */
import { layer, type Vitest } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Microsandbox from "../../src/Microsandbox.ts"
import * as Bench from "./Bench.ts"
import { commands } from "./commands.ts"

/** What all cases can use. */
type Tools = Bench.Bench | Microsandbox.Microsandbox | Scope.Scope

/** Declares a case. */
export type Test<R> = (
  name: string,
  body: () => Generator<Effect.Effect<unknown, unknown, R | Tools>, void, never>
) => void

/** Cases that belong together. */
export type Group<R = never> = (test: Test<R>) => void

const cases =
  <R>(it: Vitest.MethodsNonLive<R | Bench.Bench | Microsandbox.Microsandbox>, timeout: number): Test<R> =>
  (name, body) =>
    it.effect(
      name,
      () =>
        Effect.gen(function* () {
          const { counts } = yield* Bench.Bench
          counts.cases++
          yield* Effect.gen(body)
        }),
      timeout
    )

/** Declares all cases for a backend. */
export const contract = <E>(
  backend: string,
  options: {
    readonly layer: Layer.Layer<Bench.Bench | Microsandbox.Microsandbox, E>
    /** Milliseconds for one case. */
    readonly timeout: number
  }
): void => {
  const { timeout } = options
  layer(options.layer, { excludeTestServices: true, timeout })(`the contract, on ${backend}`, (it) => {
    it.layer(
      Bench.shared(() => ({ env: { FROM_CONFIG: "configured" }, scripts: { greet: "#!/bin/sh\necho hello $1\n" } })),
      { timeout }
    )("commands", (it) => commands(cases<Bench.Shared>(it, timeout)))
  })
}

/**
 * What every backend does, as a suite of cases.
 *
 * They are written against the service alone: whoever provides it, `Sandbox` and
 * everything above it must see the same behaviour. The in-memory twin must pass it as
 * the real driver does; where the two differ, the twin is fixed.
 */
import { layer, type Vitest } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Services } from "../../src/Driver.ts"
import type { SandboxConfig } from "../../src/SandboxConfig.ts"
import * as Bench from "./Bench.ts"
import { captures } from "./captures.ts"
import { commands } from "./commands.ts"
import { files } from "./files.ts"
import { images } from "./images.ts"
import { jobs } from "./jobs.ts"
import { memories } from "./memories.ts"
import { readiness } from "./readiness.ts"
import { sandboxes } from "./sandboxes.ts"

/** What all cases can use. */
type Tools = Bench.Bench | Services | Scope.Scope

/** Declares a case. */
export type Test<R> = (
  name: string,
  body: () => Generator<Effect.Effect<unknown, unknown, R | Tools>, void, never>
) => void

/** Cases that belong together. */
export type Group<R = never> = (test: Test<R>) => void

const cases =
  <R>(it: Vitest.MethodsNonLive<R | Bench.Bench | Services>, timeout: number): Test<R> =>
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

export type GroupName = (typeof groups)[number]

const groups = ["images", "sandboxes", "captures", "memories", "commands", "jobs", "readiness", "files"] as const

const inOneSandbox = ["commands", "jobs", "readiness", "files"] as const

/** Declares the cases for a backend: all, or those of some groups. */
export const contract = <E>(
  backend: string,
  options: {
    readonly layer: Layer.Layer<Bench.Bench | Services, E>
    /** Milliseconds for one case. */
    readonly timeout: number
    readonly groups?: ReadonlyArray<GroupName>
  }
): void => {
  const { timeout } = options
  const wanted = new Set(options.groups ?? groups)
  layer(options.layer, { excludeTestServices: true, timeout })(`the contract, on ${backend}`, (it) => {
    if (wanted.has("images")) images(cases<never>(it, timeout))
    if (wanted.has("sandboxes")) sandboxes(cases<never>(it, timeout))
    if (wanted.has("captures")) captures(cases<never>(it, timeout))
    if (wanted.has("memories")) memories(cases<never>(it, timeout))
    if (!inOneSandbox.some((name) => wanted.has(name))) return
    it.layer(Bench.shared(everyday), { timeout })("in one sandbox", (it) => {
      const test = cases<Bench.Shared>(it, timeout)
      if (wanted.has("commands")) commands(test)
      if (wanted.has("jobs")) jobs(test)
      if (wanted.has("readiness")) readiness(test)
      if (wanted.has("files")) files(test)
    })
  })
}

/** The configuration of the sandbox that most cases share. */
const everyday = (files: string): SandboxConfig => ({
  ephemeral: true,
  env: { FROM_CONFIG: "configured" },
  scripts: { greet: "#!/bin/sh\necho hello $1\n" },
  mounts: {
    "/host": { bind: files },
    "/readonly": { bind: files, readonly: true },
    "/small": { tmpfs: 1024 * 1024 }
  }
})

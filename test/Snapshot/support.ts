/**
 * What tests of builds in memory share.
 */
import { assert, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { TestClock } from "effect/testing"
import type { Services } from "../../src/Driver.ts"
import { isArtifactName } from "../../src/internal/store/store.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import type { MissReason, Plan } from "../../src/Plan.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { recorder } from "./recorder.ts"
import { turn } from "../support.ts"

// =============================================================================
// Tests
// =============================================================================

export const image = "debian:12"

/** What a test of {@link test} can use. */
export type Twin = Services | MicrosandboxMemory.Control | FileSystem.FileSystem

/** A driver in memory with its own home. */
export const withTwin = <A, E, R>(effect: Effect.Effect<A, E, R>, options?: MicrosandboxMemory.Options) =>
  Effect.provide(effect, MicrosandboxMemory.layer({ images: { [image]: { isCached: true } }, ...options }), {
    local: true
  })

/** A test on its own driver in memory, in which nothing may run when it ends. */
export const test = <E>(
  name: string,
  effect: Effect.Effect<void, E, Twin | Scope.Scope>,
  options?: MicrosandboxMemory.Options
) =>
  it.effect(name, () =>
    Effect.scoped(effect).pipe(
      Effect.andThen(assertNothingRuns),
      (effect) => withTwin(effect, options),
      Effect.provide(NodeFileSystem.layer)
    )
  )

/** Fails if a sandbox is left, or a command in one, or a snapshot that is not complete. */
export const assertNothingRuns = Effect.gen(function* () {
  const control = yield* MicrosandboxMemory.Control
  const driver = yield* Microsandbox.Microsandbox
  const { processes, sandboxes, snapshots } = yield* control.inventory
  assert.deepStrictEqual({ processes, sandboxes }, { processes: [], sandboxes: [] })
  for (const name of snapshots) {
    const hasChecksum = yield* driver.verifySnapshot(name)
    // Snapshots made by other tools may have none.
    if (isArtifactName(name)) assert.isTrue(hasChecksum, name)
  }
})

// =============================================================================
// Calls
// =============================================================================

/** The number of boots so far. */
export const boots = Effect.gen(function* () {
  const { calls } = yield* MicrosandboxMemory.Control
  return (yield* calls).filter(({ operation }) => operation === "createSandbox" || operation === "startSandbox").length
})

/** The result of an effect, and its number of boots. */
export const countingBoots = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const before = yield* boots
  const result = yield* effect
  return [result, (yield* boots) - before] as const
})

/** Waits for a condition, without advancing the clock. */
export const until = <E, R>(isSo: Effect.Effect<boolean, E, R>) =>
  Effect.andThen(turn, isSo).pipe(Effect.repeat({ until: (value) => value }), Effect.asVoid)

/** Lets time pass until a fiber is through: slower than files of this machine are written, which have a time limit. */
export const passUntilDone = <A, E>(fiber: Fiber.Fiber<A, E>, step: Duration.Input = "1 second") =>
  Effect.andThen(turn, TestClock.adjust(step)).pipe(
    Effect.repeat({ until: () => fiber.pollUnsafe() !== undefined }),
    Effect.andThen(Fiber.await(fiber))
  )

// =============================================================================
// Events
// =============================================================================

export { recorder }

/** Builds, and returns which steps ran and how many sandboxes were booted. */
export const buildCounting = Effect.fnUntraced(function* <E, R>(
  definition: Snapshot.Definition<E, R>,
  options?: Omit<Snapshot.BuildOptions, "onEvent">
) {
  const { onEvent, stepsRun } = recorder()
  const [built, boots] = yield* countingBoots(Snapshot.build(definition, { ...options, onEvent }))
  return { built, boots, steps: stepsRun() }
})

// =============================================================================
// Plans
// =============================================================================

/** The verdicts of a plan, a hit as `"Hit"` and a miss as the tag of its reason. */
export const verdicts = ({ steps }: Plan): ReadonlyArray<string> =>
  steps.map(({ verdict }) => (verdict._tag === "Hit" ? "Hit" : verdict.reason._tag))

/** Why a step, counted from 1, is not a hit. */
export const reasonOf = ({ steps }: Plan, index: number): MissReason | undefined => {
  const verdict = steps[index - 1]?.verdict
  return verdict?._tag === "Miss" ? verdict.reason : undefined
}

// =============================================================================
// Definitions and disks
// =============================================================================

/** Ten steps, of which each adds a line to a file; `changes` are the lines of some. */
export const tenSteps = (name: string, changes: { readonly [index: number]: string } = {}): Snapshot.Definition => {
  let definition = Snapshot.make(name, image)
  for (let index = 1; index <= 10; index++) {
    definition = Snapshot.shell(definition, `echo ${changes[index] ?? index} >> /root/lines`)
  }
  return definition
}

/** The content of a file in a snapshot. */
export const readIn = (snapshot: string | Snapshot.Snapshot, path: string) =>
  Sandbox.run({ snapshot }, (sandbox) => sandbox.readFileString(path))

/** Mounted by the runtime in every guest: not on the disk. */
const mounts = ["/.msb", "/dev", "/proc", "/sys", "/tmp"]

/** Everything on the disk of a snapshot, by path: kind, mode, owner, and content or target. */
export const disk = Effect.fnUntraced(function* (snapshot: string | Snapshot.Snapshot) {
  const found: { [path: string]: string } = {}
  const walk = (sandbox: Sandbox.Sandbox, folder: string): Effect.Effect<void, LightboxError> =>
    Effect.flatMap(sandbox.readDirectoryEntries(folder), (entries) =>
      Effect.forEach(
        entries,
        Effect.fnUntraced(function* ({ gid, mode, path, type, uid }) {
          const content =
            type === "File"
              ? yield* sandbox.readFileString(path)
              : type === "SymbolicLink"
                ? yield* sandbox.guest.readLink(path)
                : ""
          found[path] = `${type} ${mode.toString(8)} ${uid}:${gid} ${content}`
          if (type === "Directory" && !mounts.includes(path)) yield* walk(sandbox, path)
        }),
        { discard: true }
      )
    )
  yield* Sandbox.run({ snapshot, hostname: "disk" }, (sandbox) => walk(sandbox, "/"))
  return found
})

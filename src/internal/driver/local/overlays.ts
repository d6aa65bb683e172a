/**
 * Captures sandboxes whose root disk is an overlay.
 *
 * The runtime captures only disks that it has made. So a second, small sandbox is booted from the same image and killed,
 * and its disk replaced by what the overlay shows.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { LightboxError, StillRunning, Unsupported } from "../../../LightboxError.ts"
import type * as Ownership from "../../../Ownership.ts"
import { mebibyte } from "../../config/schemas.ts"
import { timeLimit } from "../../config/validation.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import { generate, generateName, instanceLabel, ownerLabel, roleLabel } from "../../ownership/labels.ts"
import * as OverlayDisk from "../overlayDisk.ts"
import * as RootDisk from "../rootDisk.ts"
import { call } from "../sdk/calls.ts"
import { findHandle, sandboxInfo } from "../sdk/sandboxes.ts"
import type { SandboxHandle } from "../sdk/surface.ts"
import { hostFile } from "../snapshotLinks.ts"
import { type DriverContext, releaseNative, takingTurns } from "./context.ts"
import { cleanUpInstance, create } from "./create.ts"

const hasEnded = ({ status }: SandboxHandle): boolean => status === "stopped" || status === "crashed"

/** Runs work that cannot be interrupted, but can be asked to end. */
const abortable = (
  method: string,
  path: string,
  run: (signal: AbortSignal) => Promise<void>
): Effect.Effect<void, LightboxError> =>
  Effect.callback<void, LightboxError>((resume) => {
    const ending = new AbortController()
    const work = run(ending.signal).then(
      () => resume(Effect.void),
      (cause) => resume(Effect.fail(fileFailure(method, "write", path)(cause)))
    )
    return Effect.promise(() => {
      ending.abort()
      return work
    })
  })

/** Calls `capture` with the name of a stopped sandbox that has the disk of `source`, whose overlay is in `folder`. */
export const through = <A>(
  context: DriverContext,
  method: string,
  source: SandboxHandle,
  folder: string,
  capture: (sandbox: string) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, LightboxError> => {
  const { home, ownership, sdk } = context
  const { image = "", imageDigest, name } = sandboxInfo(source)
  const running = new LightboxError({ method, reason: new StillRunning({ name }) })
  const lastWrite = hostFile(method, folder, async () => (await Fs.stat(Path.join(folder, context.disks.file))).mtimeMs)
  const copied = Effect.fnUntraced(function* (note: Ownership.Note) {
    const before = yield* lastWrite
    const helper = yield* create(context, {
      name: note.name,
      source: { _tag: "Image", reference: image },
      config: { resources: { cpus: 1, memory: 256 * mebibyte }, network: "none", pullPolicy: "never" },
      labels: { [instanceLabel]: note.token, [ownerLabel]: yield* ownership.id, [roleLabel]: "builder" }
    })
    return yield* Effect.gen(function* () {
      if (helper.imageDigest !== imageDigest) {
        const problem = `${image} is no longer the image that sandbox "${name}" was launched from`
        return yield* new LightboxError({ method, reason: new Unsupported({ feature: "captureSnapshot", problem }) })
      }
      const look = findHandle(sdk, method, helper.name)
      yield* Effect.flatMap(look, (handle) => call(method, { sandbox: helper.name }, () => handle.kill()))
      // The runtime records the end of a sandbox with a delay.
      yield* Effect.repeat(look, { until: hasEnded, schedule: Schedule.spaced("50 millis") }).pipe(
        timeLimit(method, `waiting for the end of the helper of sandbox "${name}"`, Duration.seconds(30))
      )
      const staged = yield* ownership.stage
      yield* abortable(method, staged, async (signal) => {
        try {
          await OverlayDisk.write(context.disks.read(folder), staged, signal)
          await Fs.rename(staged, Path.join(home, "sandboxes", helper.name, RootDisk.diskFile))
        } finally {
          await Fs.rm(staged, { force: true })
        }
      })
      // This process does not start it meanwhile, but another one can.
      if (!hasEnded(yield* findHandle(sdk, method, name)) || before !== (yield* lastWrite)) return yield* running
      return yield* capture(helper.name)
    }).pipe(Effect.ensuring(releaseNative(context, helper)))
  })
  return Effect.gen(function* () {
    if (!hasEnded(source)) return yield* running
    const note: Ownership.Note = { kind: "sandbox", token: yield* generate, name: yield* generateName() }
    return yield* Effect.acquireUseRelease(
      ownership.note(note),
      () => copied(note),
      () => Effect.andThen(cleanUpInstance(context, note.name, note.token), ownership.forget(note))
    )
  }).pipe(takingTurns(context.names, [name]))
}

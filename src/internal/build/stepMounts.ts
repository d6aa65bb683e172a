/** The mounts that a step has while it runs, as `RUN --mount` of a Dockerfile asks for. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Path from "node:path"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import type { StepMount } from "../../Snapshot.ts"
import * as Execution from "../guest/execution.ts"
import { typeAt } from "../guest/copy.ts"
import type { DiskStep, Prepared } from "../plan/units.ts"
import * as HomeFiles from "../ownership/files.ts"
import { method, type Driver } from "./context.ts"

/** Where a builder has the volumes of its caches. */
const cacheAt = (volume: string): string => `/run/lightbox-caches/${volume}`

/** Files of binds while a step runs: on the disk, as they may be large. */
const bindsFolder = "/.lightbox-binds"

const mountsOf = (step: DiskStep<unknown, unknown>): ReadonlyArray<StepMount> =>
  step._tag === "Exec" ? (step.mounts ?? []) : []

/** The volumes that a builder needs. */
export const volumesOf = ({ units }: Prepared<unknown, unknown>): NonNullable<SandboxConfig["mounts"]> =>
  Object.fromEntries(
    units
      .flatMap(({ step }) => mountsOf(step))
      .flatMap((mount) => (mount._tag === "Cache" ? [[cacheAt(mount.volume), { volume: mount.volume }] as const] : []))
  )

const run = (guest: Guest.Guest, ...argv: Guest.Command["argv"]) =>
  Effect.asVoid(Execution.collect(guest, method, Execution.asRoot(...argv), { check: true }))

/** Mounts for the scope. */
export const mountAll = Effect.fnUntraced(function* (options: {
  readonly driver: Driver
  readonly guest: Guest.Guest
  readonly mounts: ReadonlyArray<StepMount>
  readonly secretsFolder: string
  /** Copies the files of a bind into a folder of the guest. */
  readonly add: (
    from: Extract<StepMount, { readonly _tag: "Bind" }>["from"],
    to: string
  ) => Effect.Effect<void, LightboxError>
}): Effect.fn.Return<void, LightboxError, Scope.Scope> {
  const { add, driver, guest, mounts, secretsFolder } = options
  // After the last one is unmounted.
  if (mounts.some(({ _tag }) => _tag === "Bind")) {
    yield* Effect.addFinalizer(() => Effect.ignore(guest.removeDirectory(bindsFolder, { recursive: true })))
  }
  // In one order and each once: two steps would wait for each other, or one for itself.
  const locked = new Set(mounts.flatMap((mount) => (mount._tag === "Cache" && mount.isLocked ? [mount.volume] : [])))
  for (const volume of [...locked].toSorted()) yield* HomeFiles.lock(driver, `volume:${volume}`)
  for (const [index, mount] of mounts.entries()) {
    const at = mount.target
    switch (mount._tag) {
      case "Cache": {
        const { gid, mode, uid } = mount
        const folder = cacheAt(mount.volume)
        // A new folder has these; what is in it stays as programs made it.
        const inside = yield* guest.readDirectoryEntries(folder)
        if (inside.length === 0)
          yield* guest.setAttributes(folder, { mode: mode ?? 0o755, uid: uid ?? 0, gid: gid ?? 0 })
        yield* mountAt(guest, mount.target, "folder", (target) => run(guest, "mount", "--bind", folder, target))
        break
      }
      case "Tmpfs": {
        const size = mount.size === undefined ? [] : ["-o", `size=${mount.size}`]
        yield* mountAt(guest, mount.target, "folder", (target) =>
          run(guest, "mount", "-t", "tmpfs", ...size, "tmpfs", target)
        )
        break
      }
      case "Secret": {
        const { gid, mode, uid } = mount
        const file = `${secretsFolder}/${mount.name}`
        if (mode !== undefined || uid !== undefined || gid !== undefined) {
          yield* guest.setAttributes(file, { mode: mode ?? 0o400, uid: uid ?? 0, gid: gid ?? 0 })
        }
        if (at !== undefined && at !== file) {
          yield* mountAt(guest, at, "file", (target) => run(guest, "mount", "--bind", file, target))
        }
        break
      }
      case "Bind": {
        const folder = `${bindsFolder}/${index}`
        yield* guest.makeDirectory(folder)
        yield* add(mount.from, `${folder}/content`)
        const source = `${folder}/content`
        const kind = (yield* typeAt(guest, source)) === "Directory" ? "folder" : "file"
        yield* mountAt(guest, mount.target, kind, (target) =>
          Effect.andThen(
            run(guest, "mount", "--bind", source, target),
            mount.isWritable ? Effect.void : run(guest, "mount", "-o", "remount,bind,ro", target)
          )
        )
      }
    }
  }
})

/** Mounts at a path, which is created if it does not exist, and removed again afterwards. */
const mountAt = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  target: string,
  kind: "file" | "folder",
  mount: (target: string) => Effect.Effect<void, LightboxError>
): Effect.fn.Return<void, LightboxError, Scope.Scope> {
  const missing: Array<string> = []
  for (let at = target; at !== "/"; at = Path.posix.dirname(at)) {
    if ((yield* typeAt(guest, at)) !== undefined) break
    missing.push(at)
  }
  yield* Effect.addFinalizer(() =>
    // Only empty folders can be removed: what the step has put beside its mount stays.
    Effect.forEach(
      missing,
      (path) =>
        Effect.ignore(path === target && kind === "file" ? guest.removeFile(path) : guest.removeDirectory(path)),
      {
        discard: true
      }
    )
  )
  for (const path of missing.toReversed()) {
    if (path !== target || kind === "folder") yield* guest.makeDirectory(path)
    else yield* Effect.scoped(guest.open(path, { write: true, create: true }))
  }
  yield* Effect.acquireRelease(mount(target), () => Effect.ignore(run(guest, "umount", "-l", target)))
})

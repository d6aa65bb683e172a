/** Compares, marks and prunes volumes. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Ownership from "../../Ownership.ts"
import { showSize } from "../config/schemas.ts"
import * as Cleanup from "../../Cleanup.ts"
import { Drift, type LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as HomeFiles from "../ownership/files.ts"
import { sizeOf } from "./files.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** The requested properties; absent ones are not compared. */
export interface Wanted {
  readonly kind?: Microsandbox.VolumeInfo["kind"] | undefined
  readonly quota?: number | undefined
  readonly labels?: { readonly [key: string]: string } | undefined
}

/** Lists the differences of a volume from the request. */
export const drift = (volume: Microsandbox.VolumeInfo, wanted: Wanted): Drift | undefined => {
  const { name } = volume
  const show = (size: number | undefined) => (size === undefined ? "unlimited" : showSize(size))
  const labels = (all: { readonly [key: string]: string }) =>
    JSON.stringify(Object.fromEntries(Object.entries(all).toSorted(([a], [b]) => (a < b ? -1 : 1))))
  const { kind = volume.kind, quota = volume.quota } = wanted
  if (kind !== volume.kind) return new Drift({ resource: "volume", name, field: "kind", was: volume.kind, now: kind })
  if (quota !== volume.quota)
    return new Drift({ resource: "volume", name, field: "quota", was: show(volume.quota), now: show(quota) })
  const [was, now] = [labels(volume.labels), labels(wanted.labels ?? volume.labels)]
  return was === now ? undefined : new Drift({ resource: "volume", name, field: "labels", was, now })
}

/** A volume with its size on the host's disk. */
export interface Measured {
  readonly volume: Microsandbox.VolumeInfo
  readonly usedBytes: number
}

const measure = ({ remoteHome }: Driver, volume: Microsandbox.VolumeInfo): Effect.Effect<Measured, LightboxError> =>
  Effect.map(remoteHome?.volumeUsage(volume.name) ?? sizeOf("Volume.usage", volume.path), (usedBytes) => ({
    volume,
    usedBytes
  }))

export const measured = <R>(
  volume: Effect.Effect<Microsandbox.VolumeInfo, LightboxError, R>
): Effect.Effect<Measured, LightboxError, R | Microsandbox.Microsandbox> =>
  Effect.flatMap(volume, (volume) => Microsandbox.Microsandbox.use((driver) => measure(driver, volume)))

export const listMeasured: Effect.Effect<
  ReadonlyArray<Measured>,
  LightboxError,
  Microsandbox.Microsandbox
> = Microsandbox.Microsandbox.use((driver) =>
  Effect.flatMap(driver.listVolumes(), (volumes) =>
    Effect.forEach(volumes, (volume) => measure(driver, volume), { concurrency: 4 })
  )
)

/** A recreated volume is another one: it has another creation time. */
const Primed = Schema.fromJsonString(Schema.Struct({ key: Schema.String, createdAt: Schema.NullOr(Schema.Finite) }))

const encodePrimed = Schema.encodeSync(Primed)
const decodePrimed = Schema.decodeOption(Primed)

const primedFile = (name: string): string => `primed/${name}.json`

const timeOf = ({ createdAt }: Microsandbox.VolumeInfo): number | null =>
  createdAt === undefined ? null : DateTime.toEpochMillis(createdAt)

/** Checks whether a volume was filled with this key. An unreadable mark counts as not filled. */
export const isPrimed = (driver: Driver, volume: Microsandbox.VolumeInfo, key: string): Effect.Effect<boolean> =>
  Effect.orElseSucceed(HomeFiles.read(driver, primedFile(volume.name)), () => undefined).pipe(
    Effect.map((text = "") =>
      Option.exists(decodePrimed(text), (primed) => primed.key === key && primed.createdAt === timeOf(volume))
    )
  )

export const setPrimed = (
  driver: Driver,
  ownership: Ownership.Ownership["Service"],
  volume: Microsandbox.VolumeInfo,
  key: string
): Effect.Effect<void, LightboxError> =>
  HomeFiles.of(driver, ownership).write(primedFile(volume.name), encodePrimed({ key, createdAt: timeOf(volume) }))

export const forgetPrimed = (driver: Driver, name: string): Effect.Effect<void, LightboxError> =>
  HomeFiles.remove(driver, primedFile(name))

export const prune = Effect.fnUntraced(function* (
  driver: Driver,
  options: {
    readonly labels?: { readonly [key: string]: string } | undefined
    readonly olderThan?: Duration.Duration | undefined
    readonly dryRun?: boolean | undefined
  }
): Effect.fn.Return<Cleanup.Report, LightboxError> {
  const { labels = {}, olderThan } = options
  const now = yield* Clock.currentTimeMillis
  const running = (yield* driver.listSandboxes()).filter(({ status }) => status !== "stopped")
  const all = (yield* driver.listVolumes()).filter((volume) =>
    Object.entries(labels).every(([key, value]) => volume.labels[key] === value)
  )
  const dryRun = options.dryRun === true
  const verdicts = yield* Effect.forEach(all, (volume) => {
    const { createdAt, name } = volume
    const verdict = (verdict: Cleanup.Verdict["verdict"], reason: string): Cleanup.Verdict => ({
      resource: "volume",
      name,
      verdict,
      reason,
      ...(createdAt === undefined ? {} : { createdAt })
    })
    const age = createdAt === undefined ? undefined : Duration.millis(now - DateTime.toEpochMillis(createdAt))
    const old = age === undefined ? "of an unknown age" : `made ${Duration.format(age)} ago`
    if (olderThan !== undefined && (age === undefined || Duration.isLessThanOrEqualTo(age, olderThan))) {
      return Effect.succeed(verdict("kept", old))
    }
    const kept = (usedBy: ReadonlyArray<string>) => verdict("kept", `in use by ${usedBy.join(", ")}`)
    const users = running.filter(({ volumes }) => volumes.includes(name)).map((sandbox) => sandbox.name)
    if (users.length > 0) return Effect.succeed(kept(users))
    if (dryRun) return Effect.succeed(verdict("removable", old))
    return driver.removeVolume(name).pipe(
      Effect.andThen(forgetPrimed(driver, name)),
      Effect.as(verdict("removed", old)),
      Effect.catchReason("LightboxError", "InUse", ({ usedBy }) => Effect.succeed(kept(usedBy)))
    )
  })
  return Cleanup.Report.of(verdicts, { dryRun })
})

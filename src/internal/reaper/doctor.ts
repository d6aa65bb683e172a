/** Checks whether this machine can run sandboxes. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Services } from "../../Driver.ts"
import * as Ownership from "../../Ownership.ts"
import type { Diagnosis, Finding } from "../../Lightbox.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as MicrosandboxLocal from "../../MicrosandboxLocal.ts"
import { availableMemory } from "../driver/admission.ts"
import { freeBytes } from "../host/diskRoom.ts"
import * as Home from "../host/home.ts"
import { sweep } from "./sweep.ts"
import { HostPath } from "../config/schemas.ts"
import { optionsDecoder } from "../config/validation.ts"
import * as UserAttributes from "../host/userAttributes.ts"
import * as Virtualization from "../host/virtualization.ts"
import { hintFor } from "../report/failureText.ts"

const method = "Lightbox.doctor"

const decodeOptions = optionsDecoder(method, Schema.Struct({ home: Schema.optional(HostPath) }))

const mebibyte = 1024 * 1024

export const diagnose = Effect.fn(method)(function* (
  input: { readonly home?: string | undefined } | undefined
): Effect.fn.Return<Diagnosis, LightboxError> {
  const options = yield* decodeOptions(input)
  const home = yield* Home.resolve(method, options.home)
  const isThere = yield* Effect.promise(() => canRead(home))
  const hasStore = yield* Effect.promise(() => canRead(Path.join(home, "db", "msb.db")))
  const findings: ReadonlyArray<Finding> = [
    node(),
    platform(),
    yield* virtualization,
    memory(),
    ...(yield* Effect.promise(() => disk(home, isThere))),
    ...(yield* driver(home, hasStore))
  ]
  return { findings, isHealthy: findings.every(({ status }) => status !== "problem") }
})

const ok = (topic: Finding["topic"], found: string): Finding => ({ topic, status: "ok", found, remedy: undefined })

const warning = (topic: Finding["topic"], found: string, remedy: string): Finding => ({
  topic,
  status: "warning",
  found,
  remedy
})

const problem = (topic: Finding["topic"], found: string, remedy: string): Finding => ({
  topic,
  status: "problem",
  found,
  remedy
})

const node = (): Finding => {
  const { bun } = process.versions
  if (bun !== undefined) return ok("node", `Bun ${bun}`)
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  return major > 22 || (major === 22 && minor >= 19)
    ? ok("node", `Node.js ${process.versions.node}`)
    : problem("node", `Node.js ${process.versions.node}`, "use Node.js 22.19 or newer")
}

const platform = (): Finding => {
  const found = `${process.platform} ${process.arch}`
  const isSupported =
    (process.platform === "linux" && (process.arch === "x64" || process.arch === "arm64")) ||
    (process.platform === "darwin" && process.arch === "arm64")
  return isSupported ? ok("platform", found) : problem("platform", found, "use Linux, or macOS on Apple silicon")
}

const virtualization: Effect.Effect<Finding> = Effect.match(Virtualization.check(method), {
  onSuccess: () => ok("virtualization", "this machine can run virtual machines"),
  onFailure: ({ reason }) =>
    reason._tag === "NoVirtualization"
      ? problem("virtualization", reason.problem, reason.remedy)
      : problem("virtualization", reason.message, "read the message above")
})

/** Less is hardly enough for one sandbox of the default size. */
const littleMemory = 768 * mebibyte

const memory = (): Finding => {
  const available = availableMemory()
  const found = `${Math.floor(available / mebibyte)} of ${Math.floor(Os.totalmem() / mebibyte)} MiB are available`
  return available >= littleMemory
    ? ok("memory", found)
    : warning("memory", found, "give sandboxes less memory, or stop other programs")
}

const canRead = (path: string): Promise<boolean> =>
  Fs.access(path).then(
    () => true,
    () => false
  )

const existing = async (path: string): Promise<string> => ((await canRead(path)) ? path : existing(Path.dirname(path)))

const fewFreeMebibytes = 4096

const disk = async (home: string, isThere: boolean): Promise<ReadonlyArray<Finding>> => {
  const folder = await existing(home)
  try {
    await Fs.access(folder, Fs.constants.R_OK | Fs.constants.W_OK)
  } catch {
    return [problem("home", `${folder} is not writable`, "choose another home, or take ownership with chown")]
  }
  if (!(await Fs.stat(folder)).isDirectory()) {
    return [problem("home", `${folder} is not a folder`, "choose another home, or move that file")]
  }
  const free = Math.floor((await freeBytes(folder)) / mebibyte)
  const probe = Path.join(folder, `.lightbox-${Crypto.randomBytes(6).toString("hex")}`)
  return [
    ok("home", isThere ? home : `${home} (will be created)`),
    free >= fewFreeMebibytes
      ? ok("disk", `${free} MiB are free`)
      : warning(
          "disk",
          `${free} MiB are free`,
          "remove snapshots with `lightbox prune` and volumes with `lightbox volume prune`"
        ),
    await copies(home, probe),
    attributes(folder)
  ]
}

const reflinkRemedy = (home: string): string =>
  process.platform === "linux"
    ? "put the home on XFS or Btrfs, for example: truncate -s 64G /var/lib/lightbox.xfs && " +
      `mkfs.xfs -m reflink=1 /var/lib/lightbox.xfs && mount -o loop /var/lib/lightbox.xfs ${home}`
    : "put the home on APFS"

/** Measures the cost of a copy. A capture copies a whole snapshot unless disk blocks can be shared. */
const copies = async (home: string, probe: string): Promise<Finding> => {
  const kind = await Home.probeCopies(probe)
  if (kind === "reflink") return ok("copies", "captures and launches share disk blocks (reflinks)")
  const size = 32
  const target = `${probe}.copy`
  try {
    await Fs.writeFile(probe, Crypto.randomBytes(size * mebibyte), { flush: true })
    const start = performance.now()
    await Fs.copyFile(probe, target)
    const file = await Fs.open(target)
    await file.sync()
    await file.close()
    const each = ((performance.now() - start) / size).toFixed(2)
    return warning(
      "copies",
      `captures copy the contents of a snapshot, at ${each} ms per MiB; launches do not copy`,
      reflinkRemedy(home)
    )
  } catch (error) {
    return warning("copies", `could not be measured: ${String(error)}`, reflinkRemedy(home))
  } finally {
    await Fs.rm(probe, { force: true })
    await Fs.rm(target, { force: true })
  }
}

/** The runtime records owners and modes in the home, and needs attributes for its files in the temporary folder. */
const attributes = (home: string): Finding => {
  const wrong = [home, Os.tmpdir()].find((folder) => !UserAttributes.areTaken(folder))
  return wrong === undefined
    ? ok("attributes", "extended attributes can record owners and modes of volumes")
    : warning(
        "attributes",
        `the file system of ${wrong} may not take extended attributes of users`,
        wrong === home
          ? "put the home on ext4, XFS or Btrfs, or the owners and modes that guests set in volumes may be lost"
          : "if sandboxes fail to boot, set TMPDIR to a folder on ext4, XFS or Btrfs"
      )
}

const driver = (home: string, hasStore: boolean): Effect.Effect<ReadonlyArray<Finding>> =>
  Effect.scoped(
    Effect.gen(function* () {
      const context = yield* Layer.build(MicrosandboxLocal.layer({ home, sweep: false }))
      return yield* Effect.provideContext(stored(hasStore), context)
    })
  ).pipe(
    Effect.catch((error) =>
      Effect.succeed([
        error.reason._tag === "RuntimeMissing"
          ? problem("runtime", error.reason.problem, error.reason.remedy)
          : problem("runtime", error.reason.message, hintFor("cli", error) ?? "read the message above")
      ])
    )
  )

const stored = (hasStore: boolean): Effect.Effect<ReadonlyArray<Finding>, never, Services> =>
  Effect.gen(function* () {
    const driver = yield* Microsandbox.Microsandbox
    const ownership = yield* Ownership.Ownership
    const runtime = ok("runtime", `microsandbox ${driver.version}`)
    // A query would create the database.
    if (!hasStore) return [runtime]
    return yield* Effect.all([driver.listSandboxes(), driver.listSnapshots(), driver.listImages()]).pipe(
      Effect.matchEffect({
        onFailure: ({ reason }) =>
          Effect.succeed([
            runtime,
            problem("store", reason.message, "stop other programs that use this home, or choose another one")
          ]),
        onSuccess: ([sandboxes, snapshots, images]) =>
          Effect.map(leftovers(driver, ownership), (left) => [
            runtime,
            ok("store", `${sandboxes.length} sandboxes, ${snapshots.length} snapshots, ${images.length} images`),
            left
          ])
      })
    )
  })

const leftovers = (
  driver: Microsandbox.Microsandbox["Service"],
  ownership: Ownership.Ownership["Service"]
): Effect.Effect<Finding> =>
  Effect.map(sweep(driver, ownership, { dryRun: true, all: true, timeout: Duration.seconds(10) }), ({ verdicts }) => {
    const left = verdicts.filter(({ resource, verdict }) => verdict === "removable" && resource !== "lock")
    const foreign = verdicts.filter(({ resource, verdict }) => verdict === "kept" && resource === "ghost")
    if (left.length > 0) {
      return warning(
        "leftovers",
        `dead processes left ${left.length} resource${left.length === 1 ? "" : "s"} behind`,
        "run `lightbox sweep` to remove them"
      )
    }
    return foreign.length === 0
      ? ok("leftovers", "dead processes left nothing behind")
      : warning(
          "leftovers",
          `the runtime does not know these sandbox folders: ${foreign.map(({ name }) => name).join(", ")}`,
          "remove them from the folder `sandboxes` of the home, unless a sandbox is being created"
        )
  })

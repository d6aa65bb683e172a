/** Snapshots for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Snapshots from "../../Snapshot.ts"
import { generate } from "../ownership/labels.ts"
import { Labels, Name, optionsStruct, SnapshotName, SnapshotReference } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"
import { encodable } from "../report/printable.ts"
import { callFields, checkArgs, checked, signalOf } from "./input.ts"
import type { CallOptions } from "./options.ts"
import { run, runDriver } from "./runtime.ts"

const decode = decoder(Schema.Struct({ name: Name, sandbox: Name, labels: Labels }), "Snapshot.builder")

/**
 * Captures the disk of a stopped sandbox under a name.
 *
 * Both spellings of the SDK work: `Snapshot.builder("name").fromSandbox("sandbox")` (newer) and
 * `Snapshot.builder("sandbox").name("name")` (older). `captureSnapshot` also captures running sandboxes and keeps
 * generations.
 *
 * **Example** (Capture manual changes)
 *
 * ```ts
 * import { connectToSandbox, Snapshot } from "effect-lightbox/promise"
 *
 * await (await connectToSandbox("agent-1")).stop()
 * await Snapshot.builder("prepared").fromSandbox("agent-1").label("team", "platform").create()
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class SnapshotBuilder {
  #name: string
  #sandbox: string
  #isForced = false
  #integrity = false
  readonly #labels: { [key: string]: string } = {}

  /** @internal */
  constructor(name: string) {
    this.#name = name
    this.#sandbox = name
  }
  /** Sets the sandbox to capture. */
  fromSandbox(name: string): this {
    this.#sandbox = name
    return this
  }
  /** Sets the name of the snapshot. */
  name(name: string): this {
    this.#name = name
    return this
  }
  label(key: string, value: string): this {
    this.#labels[key] = value
    return this
  }
  /** Replaces a snapshot that has the name. */
  force(): this {
    this.#isForced = true
    return this
  }
  /** Records a checksum of the disk for `verify()`. */
  recordIntegrity(): this {
    this.#integrity = true
    return this
  }
  /** Captures the disk. Rejects if the sandbox is running or the name is taken. */
  async create(options?: CallOptions): Promise<Snapshot> {
    const input = { name: this.#name, sandbox: this.#sandbox, labels: this.#labels }
    const integrity = this.#integrity
    const isForced = this.#isForced
    const captured = Effect.gen(function* () {
      const { labels, name, sandbox } = yield* decode(input)
      const driver = yield* Microsandbox.Microsandbox
      if (!isForced || !(yield* Snapshots.exists(name))) {
        yield* driver.captureSnapshot({ sandbox, name, labels, integrity })
      } else {
        // The name points to the old snapshot until the new one is complete.
        const draft = `${name}.draft-${yield* generate}`
        yield* driver.captureSnapshot({ sandbox, name: draft, labels, integrity })
        yield* Effect.uninterruptible(Effect.andThen(Snapshots.remove(name), driver.renameSnapshot(draft, name)))
      }
      return yield* Snapshots.get(name)
    })
    return new Snapshot(await run(captured, signalOf("SnapshotBuilder.create", options)))
  }
}

/**
 * Options of {@link Snapshot.tag}.
 *
 * @category options
 * @since 0.1.0
 */
export interface TagOptions extends CallOptions {
  /** Point an existing name to the snapshot, as a new generation. Default: `false`: reject if the name is taken. */
  readonly overwrite?: boolean | undefined
}

const decodeTag = checked(
  "Snapshot.tag",
  Schema.Struct({ reference: SnapshotReference, name: SnapshotName }),
  optionsStruct<TagOptions>()({ ...callFields, overwrite: Schema.optional(Schema.Boolean) })
)

/**
 * A snapshot on this host, as of the time it was looked up.
 *
 * @category models
 * @since 0.1.0
 */
export class Snapshot {
  readonly name: string
  readonly digest: string
  readonly imageRef: string
  readonly imageManifestDigest: string
  /** Apparent size of the disk, in bytes. */
  readonly sizeBytes: bigint | null
  /** Folder that holds the snapshot. */
  readonly path: string
  readonly labels: ReadonlyArray<readonly [key: string, value: string]>
  readonly createdAt: Date

  /** @internal */
  constructor(snapshot: Snapshots.Snapshot) {
    this.name = snapshot.name
    this.digest = snapshot.digest
    this.imageRef = snapshot.image
    this.imageManifestDigest = snapshot.imageDigest
    this.sizeBytes = snapshot.size === undefined ? null : BigInt(snapshot.size)
    this.path = snapshot.path
    this.labels = Object.entries(snapshot.labels)
    this.createdAt = DateTime.toDateUtc(snapshot.createdAt)
  }

  /** Creates a builder that captures a sandbox's disk. */
  static builder(name: string): SnapshotBuilder {
    return new SnapshotBuilder(name)
  }
  /** Gets a snapshot by name. Rejects if it does not exist. */
  static async get(name: string, options?: CallOptions): Promise<Snapshot> {
    return new Snapshot(await run(Snapshots.get(name), signalOf("Snapshot.get", options)))
  }
  /** Gets a snapshot by name. Rejects if it does not exist or a part is missing. */
  static async open(name: string, options?: CallOptions): Promise<Snapshot> {
    return await Snapshot.get(name, options)
  }
  /** Lists the snapshots on this host, by name. */
  static async list(options?: CallOptions): Promise<Array<Snapshot>> {
    return (await run(Snapshots.list(), signalOf("Snapshot.list", options))).map((snapshot) => new Snapshot(snapshot))
  }
  /** Removes a snapshot. Succeeds if it does not exist. */
  static async remove(name: string, options?: CallOptions): Promise<void> {
    await run(Snapshots.remove(name), signalOf("Snapshot.remove", options))
  }
  /**
   * Points a name to an existing snapshot, or to one of its generations such as `"app@3"`. Both names share the disk. If
   * the name is taken, `overwrite` makes a new generation of it; without, it rejects.
   */
  static async tag(reference: string, name: string, options?: TagOptions): Promise<Snapshot> {
    const { name: to, overwrite, reference: from, signal } = decodeTag({ reference, name }, options)
    return new Snapshot(await run(Snapshots.tag(from, to, { overwrite }), signal))
  }
  /** Exports a snapshot to an archive. */
  static async export(name: string, path: string, options?: CallOptions): Promise<void> {
    const signal = signalOf("Snapshot.export", options)
    checkArgs("Snapshot.export", { archive: path })
    const snapshot = await run(Snapshots.get(name), signal)
    await runDriver((driver) => driver.saveSnapshot(snapshot.path, path), signal)
  }
  /** Imports a snapshot from an archive under a name. */
  static async import(path: string, name: string, options?: CallOptions): Promise<Snapshot> {
    checkArgs("Snapshot.import", { archive: path, name })
    await runDriver((driver) => driver.loadSnapshot(path, name), signalOf("Snapshot.import", options))
    return await Snapshot.get(name, options)
  }

  /** Looks the snapshot up again. */
  async open(options?: CallOptions): Promise<Snapshot> {
    return await Snapshot.get(this.name, options)
  }
  /** Removes the snapshot. */
  async remove(options?: CallOptions): Promise<void> {
    await Snapshot.remove(this.name, options)
  }
  /** Checks the disk against its checksum and rejects if they differ. Resolves with `false` if there is no checksum. */
  async verify(options?: CallOptions): Promise<boolean> {
    return await runDriver((driver) => driver.verifySnapshot(this.name), signalOf("Snapshot.verify", options))
  }
}

encodable(Snapshot.prototype)

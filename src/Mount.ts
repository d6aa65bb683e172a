/**
 * Mounts: folders of the host, named volumes, memory and disk images, by guest
 * path.
 *
 * Mounts are plain data in the `mounts` of a sandbox. A string is a folder of the
 * host: `"./src"` is short for `{ bind: "./src" }`.
 *
 * **Example** (Mounting a project, a shared cache and scratch memory)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox"
 *
 * export const sandbox = Sandbox.launch({
 *   snapshot: "node-ci",
 *   mounts: {
 *     "/work": "./my-project",
 *     "/root/.npm": { volume: "npm-cache" },
 *     "/secrets": { bind: "./secrets", readonly: true },
 *     "/scratch": { tmpfs: "256M" }
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import { failed, HostPath, intBetween, Mebibytes, Name, optionsStruct, parsed } from "./internal/config/schemas.ts"
import type * as Plain from "./internal/config/plain.ts"

/**
 * Options of every kind of mount.
 *
 * @category options
 * @since 0.1.0
 */
export type Options = Plain.MountOptions

/**
 * Options of bind and volume mounts.
 *
 * @category options
 * @since 0.1.0
 */
export type FolderOptions = Plain.FolderMountOptions

/**
 * Mounts a folder or file of the host. Changes by the guest are visible on the
 * host.
 *
 * @category options
 * @since 0.1.0
 */
export type Bind = Plain.BindMount

/**
 * Mounts a named volume, which outlives the sandbox and can be shared.
 *
 * @category options
 * @since 0.1.0
 */
export type Volume = Plain.VolumeMount

/**
 * Mounts guest memory. It is empty at boot; the content is lost when the sandbox
 * stops.
 *
 * @category options
 * @since 0.1.0
 */
export type Tmpfs = Plain.TmpfsMount

/**
 * Mounts the file system of a disk image. Only one sandbox at a time can write to
 * it.
 *
 * @category options
 * @since 0.1.0
 */
export type Disk = Plain.DiskMount

/**
 * A mount, as passed in options: a path on the host, or one of the objects.
 *
 * @category options
 * @since 0.1.0
 */
export type MountInput = Plain.MountInput

const optionFields = {
  readonly: Schema.optional(Schema.Boolean),
  noexec: Schema.optional(Schema.Boolean),
  nosuid: Schema.optional(Schema.Boolean),
  nodev: Schema.optional(Schema.Boolean)
}

const Id = intBetween(0, 0xffff_fffe)

const folderFields = {
  ...optionFields,
  owner: Schema.optional(Schema.Struct({ uid: Id, gid: Id })),
  statVirtualization: Schema.optional(Schema.Literals(["strict", "relaxed", "off"])),
  hostPermissions: Schema.optional(Schema.Literals(["private", "mirror"]))
}

const members = {
  bind: optionsStruct<Bind>()({ bind: HostPath, quota: Schema.optional(Mebibytes(1)), ...folderFields }),
  volume: optionsStruct<Volume>()({ volume: Name, create: Schema.optional(Schema.Boolean), ...folderFields }),
  tmpfs: optionsStruct<Tmpfs>()({
    tmpfs: Schema.Union([Schema.Literal(true), Mebibytes(1, "memory")]),
    ...optionFields
  }),
  disk: optionsStruct<Disk>()({
    disk: HostPath,
    format: Schema.optional(Schema.Literals(["raw", "qcow2", "vmdk"])),
    fstype: Schema.optional(Schema.NonEmptyString),
    ...optionFields
  })
}

const decoders = [
  ["bind", SchemaParser.decodeUnknownEffect(members.bind)],
  ["volume", SchemaParser.decodeUnknownEffect(members.volume)],
  ["tmpfs", SchemaParser.decodeUnknownEffect(members.tmpfs)],
  ["disk", SchemaParser.decodeUnknownEffect(members.disk)]
] as const

/**
 * A checked mount. Strings are converted to {@link Bind}, and sizes to bytes.
 *
 * @category models
 * @since 0.1.0
 */
export type Mount = {
  [K in keyof typeof members]: (typeof members)[K]["Type"]
}[keyof typeof members]

/**
 * The schema of mounts, from {@link MountInput}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Mount: Schema.Codec<Mount, MountInput> = parsed<Mount, MountInput>(
  (input, options): Effect.Effect<Mount, SchemaIssue.Issue> => {
    if (typeof input === "string") {
      return Effect.map(SchemaParser.decodeEffect(HostPath)(input, options), (bind) => ({ bind }))
    }
    for (const [kind, decode] of decoders) if (Predicate.hasProperty(input, kind)) return decode(input, options)
    return failed(
      "expected a folder of the host, or one of { bind: path }, { volume: name }, { tmpfs: size } and { disk: path }"
    )
  }
)

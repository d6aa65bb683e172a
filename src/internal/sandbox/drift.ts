/** Compares the options of a launch with those that a sandbox was launched with. */
import * as Option from "effect/Option"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import * as Crypto from "node:crypto"
import * as Path from "node:path"
import { Drift } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { Mount } from "../../Mount.ts"
import type { SandboxConfig, Source } from "../../SandboxConfig.ts"
import { defaultResources } from "../config/schemas.ts"
import { publishedPorts } from "../driver/ports.ts"
import { optionsLabel } from "../ownership/labels.ts"

const decode = Schema.decodeOption(Schema.fromJsonString(Schema.Record(Schema.String, Schema.String)))

type Digests = { readonly [field: string]: string }

const hash = (data: string | Uint8Array): string =>
  Crypto.createHash("sha256").update(data).digest("base64url").slice(0, 12)

const isEmpty = (value: unknown): boolean =>
  value === undefined || (typeof value === "object" && value !== null && Object.keys(value).length === 0)

/** Sorts keys, and leaves out what is empty. Redacted values all look alike. */
const plain = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return hash(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== "object" || value === null || "toJSON" in value) return value
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, inner]) => [key, plain(inner)] as const)
      .filter(([, inner]) => !isEmpty(inner))
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
  )
}

/** Relative to the working directory, the same text names other folders. */
const resolved = (mount: Mount): Mount =>
  "bind" in mount
    ? { ...mount, bind: Path.resolve(mount.bind) }
    : "disk" in mount
      ? { ...mount, disk: Path.resolve(mount.disk) }
      : mount

interface Fields {
  readonly [field: string]: unknown
}

/** What a launch without these options has. */
const defaults: Fields = {
  shell: "/bin/sh",
  network: "public",
  security: "default",
  deployment: "single-tenant",
  ephemeral: false
}

/** Leaves out the values that are those of options that are left out. */
const withoutDefaults = (options: Fields, defaults: Fields): Fields =>
  Record.filter(options, (value, field) => value !== defaults[field])

/** Digests, because an environment has secrets. Pull options do not describe the sandbox. */
const digestsOf = ({ _tag, ...source }: Source, asked: SandboxConfig): Digests => {
  const {
    mounts = {},
    resources = {},
    rootDisk,
    ...config
  } = Struct.omit(asked, ["name", "pullPolicy", "registry", "resume"])
  const compared = {
    ...withoutDefaults(config, defaults),
    resources: withoutDefaults({ ...resources }, defaultResources),
    // The other values only say how the disk is made.
    rootDisk: rootDisk === "overlay" ? rootDisk : undefined,
    ports: publishedPorts(asked),
    mounts: Object.fromEntries(Object.entries(mounts).map(([path, mount]) => [path, resolved(mount)])),
    [_tag.toLowerCase()]: source
  }
  return Object.fromEntries(
    Object.entries(compared)
      .map(([field, value]) => [field, plain(value)] as const)
      .flatMap(([field, value]) => (isEmpty(value) ? [] : [[field, hash(JSON.stringify(value))]]))
  )
}

/** The label of a sandbox that is launched with these options. */
export const labelOf = (source: Source, config: SandboxConfig): { readonly [label: string]: string } => ({
  [optionsLabel]: JSON.stringify(digestsOf(source, config))
})

/** The first option that differs. Sandboxes without the label are not compared. */
export const drift = (info: Microsandbox.SandboxInfo, source: Source, config: SandboxConfig): Drift | undefined => {
  const label = info.labels[optionsLabel]
  if (label === undefined) return undefined
  const wanted = digestsOf(source, config)
  const was = Option.getOrElse(decode(label), (): Digests => ({}))
  const field = Object.keys({ ...was, ...wanted }).find((field) => was[field] !== wanted[field])
  return field === undefined ? undefined : new Drift({ resource: "sandbox", name: info.name, field })
}

/** Compares the options of a launch with those that a sandbox was launched with. */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import * as Crypto from "node:crypto"
import { Drift } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { SandboxConfig, Source } from "../../SandboxConfig.ts"
import { publishedPorts } from "../driver/ports.ts"
import { optionsLabel } from "../ownership/labels.ts"

const decode = Schema.decodeOption(Schema.fromJsonString(Schema.Record(Schema.String, Schema.String)))

type Digests = { readonly [field: string]: string }

/** Sorts keys. Redacted values all look alike. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner) && !("toJSON" in inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner
  )

/** Not the values: an environment has secrets. What only says how to pull is no property of the sandbox. */
const digestsOf = ({ _tag, ...source }: Source, asked: SandboxConfig): Digests => {
  const config = Struct.omit(asked, ["name", "pullPolicy", "registry"])
  return Object.fromEntries(
    Object.entries({ ...config, ports: publishedPorts(asked), [_tag.toLowerCase()]: source }).flatMap(
      ([field, value]) =>
        value === undefined
          ? []
          : [[field, Crypto.createHash("sha256").update(canonical(value)).digest("base64url").slice(0, 12)]]
    )
  )
}

/** The label of a sandbox that is launched with these options. */
export const labelOf = (source: Source, config: SandboxConfig): { readonly [label: string]: string } => ({
  [optionsLabel]: canonical(digestsOf(source, config))
})

/** The first option that differs. What no such label says anything of is taken as it is. */
export const drift = (info: Microsandbox.SandboxInfo, source: Source, config: SandboxConfig): Drift | undefined => {
  const label = info.labels[optionsLabel]
  if (label === undefined || label === labelOf(source, config)[optionsLabel]) return undefined
  const wanted = digestsOf(source, config)
  const was = Option.getOrElse(decode(label), (): Digests => ({}))
  const field = Object.keys({ ...was, ...wanted }).find((field) => was[field] !== wanted[field])
  return field === undefined ? undefined : new Drift({ resource: "sandbox", name: info.name, field })
}

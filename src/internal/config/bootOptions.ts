/** Options that only a boot gives, and that a snapshot can bring along: a machine that goes on has those of its own boot. */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Crypto from "node:crypto"
import type { LaunchDefaults } from "../../SandboxConfig.ts"

type BootOptions = Pick<LaunchDefaults, "cmd" | "entrypoint" | "user">

const fields = ["cmd", "entrypoint", "user"] as const

const Digests = Schema.fromJsonString(Schema.Record(Schema.String, Schema.String))

const decode = Schema.decodeUnknownOption(Digests)

const digest = (options: BootOptions): { readonly [field: string]: string } =>
  Object.fromEntries(
    fields.flatMap((field) => {
      const value = options[field]
      return value === undefined ? [] : [[field, Crypto.hash("sha256", JSON.stringify(value))]]
    })
  )

/** The text that is recorded with a machine that is captured: digests, as labels are no place for commands. */
export const recorded = (options: BootOptions): string => JSON.stringify(digest(options))

/** The first option that a captured machine has otherwise. Without a record, it is taken to have none. */
export const differing = (record: string | undefined, options: BootOptions): keyof BootOptions | undefined => {
  const has = Option.getOrElse(decode(record), () => digest({}))
  const wanted = digest(options)
  return fields.find((field) => has[field] !== wanted[field])
}

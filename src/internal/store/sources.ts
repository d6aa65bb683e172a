/** Where snapshots are pushed to and pulled from. */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Schema from "effect/Schema"
import { SandboxConfig } from "../../SandboxConfig.ts"
import type { S3 } from "../../Snapshot.ts"
import { HostUrl, ImageReference, optionsStruct, pattern, withoutSlash } from "../config/schemas.ts"
import { splitReference } from "../driver/imageReference.ts"
import * as Client from "../registry/client.ts"
import * as Repository from "../registry/repository.ts"

/** A place with the version that a reference names: a digest, else a tag. */
export interface Opened {
  readonly repository: Repository.Repository
  readonly version: string
}

const bucketLocation =
  /^s3:\/\/(?<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?<prefix>(?:\/[A-Za-z0-9][A-Za-z0-9._-]*)*)(?::(?<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?<digest>sha256:[0-9a-f]{64}))?$/

/** Where a snapshot is pushed to: a repository of a registry, or a folder of a bucket. */
export const Reference = ImageReference.check(
  Schema.makeFilter((text) =>
    !text.startsWith("s3://") || bucketLocation.test(text)
      ? undefined
      : "expected a bucket with a prefix and a tag, such as s3://bucket/team/app:main"
  )
)

/** Options of transfers that say how to reach a place. */
export const access = {
  registry: SandboxConfig.fields.registry,
  s3: Schema.optional(
    optionsStruct<S3>()({
      endpoint: Schema.optional(HostUrl),
      region: Schema.optional(pattern(/^[a-z0-9-]{1,64}$/, 'a region such as "eu-central-1"')),
      accessKeyId: Schema.optional(Schema.NonEmptyString),
      secretAccessKey: Schema.optional(Schema.Redacted(Schema.String)),
      sessionToken: Schema.optional(Schema.Redacted(Schema.String))
    }).check(
      Schema.makeFilter(({ accessKeyId, secretAccessKey, sessionToken }) =>
        (accessKeyId === undefined) === (secretAccessKey === undefined) &&
        (accessKeyId !== undefined || sessionToken === undefined)
          ? undefined
          : {
              path: [accessKeyId === undefined ? "accessKeyId" : "secretAccessKey"],
              issue: "pass both accessKeyId and secretAccessKey, or neither"
            }
      )
    )
  )
} as const

/** The values of {@link access}. */
export interface Access {
  readonly registry: SandboxConfig["registry"]
  readonly s3: S3 | undefined
}

/** Connects to the place of a reference for the scope. */
export const open = Effect.fnUntraced(function* (
  options: Access & {
    readonly home: string
    readonly reference: string
    readonly actions: "pull" | "pull,push"
  }
): Effect.fn.Return<Opened, Client.Problem, Scope.Scope> {
  const { reference, registry, s3 } = options
  const groups = bucketLocation.exec(reference)?.groups
  if (groups === undefined) {
    const session = yield* Client.open({ ...options, allowPlain: true })
    return { repository: Repository.make(session), version: splitReference(reference).version }
  }
  // Its signatures need a library, which few programs use.
  const { open } = yield* Effect.promise(() => import("../registry/bucket.ts"))
  const { bucket = "", digest, prefix = "", tag = "latest" } = groups
  const repository = yield* open({ ...s3, bucket, prefix: prefix.slice(1), caCerts: registry?.caCerts })
  return { repository, version: digest ?? tag }
})

/** What a host is asked for: a snapshot or one of its generations, or the result of a key. */
type Wanted = { readonly snapshot: string } | { readonly key: string }

/** The repository and the version under which a host serves a snapshot. */
const pathOf = (wanted: Wanted): { readonly repository: string; readonly version: string } => {
  if ("key" in wanted) return { repository: `keys/${wanted.key}`, version: "latest" }
  const [name = "", generation = "latest"] = wanted.snapshot.split("@")
  return { repository: `snapshots/${name}`, version: generation }
}

/** Connects to another host for the scope. */
export const openHost = (
  host: { readonly host: string; readonly token: Redacted.Redacted<string> },
  wanted: Wanted
): Effect.Effect<Opened, never, Scope.Scope> => {
  const { repository, version } = pathOf(wanted)
  return Effect.map(Client.openHost({ url: withoutSlash(host.host), token: host.token, repository }), (session) => ({
    repository: Repository.make(session),
    version
  }))
}

/** Where snapshots are pushed to and pulled from. */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { withoutSlash } from "../config/schemas.ts"
import { splitReference } from "../driver/imageReference.ts"
import * as Client from "../registry/client.ts"
import * as Repository from "../registry/repository.ts"

/** A place with the version that a reference names: a digest, else a tag. */
export interface Opened {
  readonly repository: Repository.Repository
  readonly version: string
}

/** Connects to the place of a reference for the scope. */
export const open = (options: {
  readonly home: string
  readonly reference: string
  readonly registry: SandboxConfig["registry"]
  readonly actions: "pull" | "pull,push"
}): Effect.Effect<Opened, Client.Problem, Scope.Scope> =>
  Effect.map(Client.open({ ...options, allowPlain: true }), (session) => ({
    repository: Repository.make(session),
    version: splitReference(options.reference).version
  }))

/** What a host is asked for: a snapshot or one of its generations, or the result of a key. */
export type Wanted = { readonly snapshot: string } | { readonly key: string }

/** The repository and the version under which a host serves a snapshot. */
export const pathOf = (wanted: Wanted): { readonly repository: string; readonly version: string } => {
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

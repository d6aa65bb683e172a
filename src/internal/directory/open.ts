/** Opens the directory of a fleet by its URL. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { HostUnavailable, LightboxError, Unsupported } from "../../LightboxError.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { invalid } from "../config/validation.ts"
import * as Directory from "./directory.ts"
import * as Migrations from "./migrations.ts"
import { isPostgres, pathOf, problemOf, shown } from "./url.ts"

const missing = (method: string): LightboxError =>
  new LightboxError({
    method,
    reason: new Unsupported({
      feature: "a directory in PostgreSQL",
      problem: "the package @effect/sql-pg is not installed; run npm install @effect/sql-pg"
    })
  })

const clientOf = Effect.fnUntraced(function* (
  method: string,
  url: string
): Effect.fn.Return<Layer.Layer<SqlClient.SqlClient, SqlError>, LightboxError> {
  if (isPostgres(url)) {
    const pg = yield* Effect.tryPromise({ try: () => import("@effect/sql-pg/PgClient"), catch: () => missing(method) })
    return pg.layer({ url: Redacted.make(url), applicationName: "effect-lightbox", connectTimeout: "5 seconds" })
  }
  const path = Path.resolve(pathOf(url))
  yield* Effect.tryPromise({
    try: () => Fs.mkdir(Path.dirname(path), { recursive: true }),
    catch: fileFailure(method, "open", path)
  })
  const sqlite = yield* Effect.promise(() => import("./sqlite.ts"))
  return sqlite.layer(path)
})

/** How long opening a directory may take, in which others may be creating its tables. */
const openLimit = Duration.seconds(30)

/** Opens a directory until the scope closes, and creates its tables. */
export const open = Effect.fnUntraced(function* (
  method: string,
  field: string,
  given: Redacted.Redacted<string>
): Effect.fn.Return<Directory.Directory, LightboxError, Scope.Scope> {
  const url = Redacted.value(given)
  const problem = problemOf(url)
  if (problem !== undefined) return yield* invalid(method, field, problem)
  const unavailable = (cause: { readonly message: string }) =>
    new LightboxError({
      method,
      reason: new HostUnavailable({
        host: shown(url),
        kind: "Unreachable",
        problem: `the directory cannot be opened: ${cause.message}`,
        cause
      })
    })
  const limited = Effect.timeoutOrElse({
    duration: openLimit,
    orElse: () => Effect.fail(unavailable({ message: `it has not answered for ${Duration.toSeconds(openLimit)} s` }))
  })
  const context = yield* Layer.build(yield* clientOf(method, url)).pipe(Effect.mapError(unavailable), limited)
  yield* Migrations.run.pipe(
    Effect.provideContext(context),
    // Another program may be creating them.
    Effect.retry({
      while: (error) => error._tag === "MigrationError" && error.kind === "Locked",
      schedule: Schedule.spaced("100 millis").pipe(Schedule.upTo({ times: 20 }))
    }),
    Effect.mapError(unavailable),
    limited
  )
  return Directory.of(Context.get(context, SqlClient.SqlClient), shown(url))
})

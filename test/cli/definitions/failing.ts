import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Snapshot from "../../../src/Snapshot.ts"

class SeedError extends Data.TaggedError("SeedError")<{ readonly message: string }> {}

export const failing = Snapshot.make("failing", "alpine:3").pipe(
  Snapshot.shell("printf 'a \\033[31mred\\033[0m tail\\n' >&2; exit 7", { description: "the bad one" })
)

export const foreign = Snapshot.make("foreign", "alpine:3").pipe(
  Snapshot.step("own error", () => Effect.fail(new SeedError({ message: "the seed is missing" })))
)

class Database extends Context.Service<Database, { readonly seed: Effect.Effect<void> }>()(
  "effect-lightbox/test/cli/definitions/failing/Database"
) {}

export const needy = Snapshot.make("needy", "alpine:3").pipe(
  Snapshot.step("seed", () => Database.use(({ seed }) => seed))
)

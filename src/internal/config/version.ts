/** The version of this package, or `unknown` in a bundle, which has no manifest beside it, or that of its own program. */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { createRequire } from "node:module"

const Manifest = Schema.Struct({ name: Schema.Literal("effect-lightbox"), version: Schema.String })

const manifest = Option.liftThrowable((): unknown => createRequire(import.meta.url)("../../../package.json"))

export const version: string = manifest().pipe(
  Option.flatMap(Schema.decodeUnknownOption(Manifest)),
  Option.match({ onNone: () => "unknown", onSome: ({ version }) => version })
)

/**
 * Runs many tasks, each in a clean sandbox.
 *
 * node examples/pool/main.ts
 */
import * as Effect from "effect/Effect"
import * as Lightbox from "effect-lightbox/Lightbox"
import * as Microsandbox from "effect-lightbox/Microsandbox"
import { program } from "./program.ts"

program.pipe(Effect.provide(Microsandbox.layer()), Lightbox.runMain())

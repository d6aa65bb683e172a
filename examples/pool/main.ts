/**
 * Runs many tasks, each in a clean sandbox.
 *
 * node examples/pool/main.ts
 */
import * as Effect from "effect/Effect"
import * as Lightbox from "effect-lightbox/Lightbox"
import * as MicrosandboxLocal from "effect-lightbox/MicrosandboxLocal"
import { program } from "./program.ts"

program.pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())

/**
 * Shows a build as a person, another program and a collector of telemetry see it.
 *
 * node examples/build-events/main.ts
 */
import * as Effect from "effect/Effect"
import * as Lightbox from "effect-lightbox/Lightbox"
import * as Microsandbox from "effect-lightbox/Microsandbox"
import { program } from "./program.ts"

program.pipe(Effect.provide(Microsandbox.layer()), Lightbox.runMain())

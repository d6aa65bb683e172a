/**
 * Shows a build as a person, another program and a collector of telemetry see it.
 *
 * node examples/build-events/main.ts
 */
import * as Effect from "effect/Effect"
import * as Lightbox from "effect-lightbox/Lightbox"
import * as MicrosandboxLocal from "effect-lightbox/MicrosandboxLocal"
import { program } from "./program.ts"

program.pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())

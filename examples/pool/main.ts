/**
 * Runs many tasks, each in a clean sandbox.
 *
 * node examples/pool/main.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Microsandbox from "effect-lightbox/Microsandbox"
import { program } from "./program.ts"

program.pipe(Effect.provide(Microsandbox.layer()), NodeRuntime.runMain)

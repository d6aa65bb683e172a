/**
 * Tests a project on this machine.
 *
 * node examples/services/on-the-host.ts
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Lightbox from "effect-lightbox/Lightbox"
import { archive } from "./archive.ts"
import { program } from "./program.ts"

program(archive).pipe(Effect.provide(NodeServices.layer), Lightbox.runMain())

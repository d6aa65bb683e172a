/**
 * Tests the same project in a microVM.
 *
 * node examples/services/in-a-microvm.ts
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Lightbox from "effect-lightbox/Lightbox"
import * as MicrosandboxLocal from "effect-lightbox/MicrosandboxLocal"
import * as Sandbox from "effect-lightbox/Sandbox"
import * as SandboxServices from "effect-lightbox/SandboxServices"
import { archive } from "./archive.ts"
import { program } from "./program.ts"

const live = SandboxServices.layer.pipe(
  Layer.provide(Sandbox.layer({ image: "busybox", network: "none", resources: { cpus: 1, memory: "128M" } })),
  Layer.provide(MicrosandboxLocal.layer())
)

program(archive).pipe(Effect.provide(live), Lightbox.runMain())

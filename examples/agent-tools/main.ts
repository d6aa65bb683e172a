/**
 * Lets a language model work in a sandbox. With a model of a provider, such as those of `@effect/ai-openai`, in place of
 * the one that plays a part, nothing else changes.
 *
 * node examples/agent-tools/main.ts
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Lightbox from "effect-lightbox/Lightbox"
import * as MicrosandboxLocal from "effect-lightbox/MicrosandboxLocal"
import * as Sandbox from "effect-lightbox/Sandbox"
import * as SandboxTools from "effect-lightbox/SandboxTools"
import { model, program } from "./program.ts"

const live = SandboxTools.layer().pipe(
  Layer.provide(Sandbox.layer({ image: "busybox", network: "none", resources: { cpus: 1, memory: "128M" } })),
  Layer.provide(MicrosandboxLocal.layer())
)

program.pipe(Effect.provide([model, live]), Lightbox.runMain())

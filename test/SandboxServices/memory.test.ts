/** The examples of SandboxServices on the in-memory twin. */
import { layer } from "@effect/vitest"
import * as Layer from "effect/Layer"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Examples from "./examples.ts"

layer(Layer.provideMerge(Examples.sandbox, MicrosandboxMemory.layer()), { excludeTestServices: true })(
  "examples of SandboxServices on the twin",
  Examples.register
)

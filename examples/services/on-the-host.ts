/**
 * Tests a project on this machine.
 *
 * node examples/services/on-the-host.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import { archive } from "./archive.ts"
import { program } from "./program.ts"

program(archive).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)

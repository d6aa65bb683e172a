/** Jobs on hosts that are processes of their own, of which one is killed. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Support from "../MicrosandboxFleet/support.ts"
import * as Cases from "./cases.ts"

layer(NodeServices.layer, { excludeTestServices: true })("jobs whose host is killed", (it) => {
  it.effect(
    "run again on another one, and each has one result",
    () => Effect.flatMap(Support.directory, Cases.survivesKill),
    60_000
  )
})

/** Makes the images for tests where they are not yet, and prints the paths of their archives. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Busybox from "./Busybox.ts"
import * as Debian from "./Debian.ts"

Effect.forEach([Busybox.archive, Debian.archive], Effect.tap(Console.log)).pipe(
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)

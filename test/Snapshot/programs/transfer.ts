/** Pushes or pulls a snapshot in memory, and prints `part` once a part is done: `transfer.ts HOME VERB REFERENCE`. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../../src/Snapshot.ts"

const [home = "", verb, reference = ""] = process.argv.slice(2)

const onProgress = ({ moved }: Snapshot.TransferProgress) => (moved > 0 ? Console.log("part") : Effect.void)

const transfer = Effect.gen(function* () {
  if (verb === "push") yield* Snapshot.push("app", reference, { onProgress })
  else yield* Snapshot.pull("app", reference, { onProgress })
})

NodeRuntime.runMain(Effect.provide(transfer, MicrosandboxMemory.layer({ home })))

/** Bakes data into a snapshot, and runs Python in a sandbox booted from it. */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox, Snapshot } from "effect-lightbox"

const pyData = Snapshot.make("py-data", "python:3.12-slim").pipe(
  Snapshot.resources({ memory: "1G" }),
  Snapshot.shell("mkdir /data && seq 100 > /data/numbers")
)

Sandbox.run({ snapshot: Snapshot.build(pyData), name: "analysis-1" }, (sandbox) =>
  sandbox.exec("python3", ["-c", "print(sum(map(int, open('/data/numbers'))))"])
).pipe(
  Effect.flatMap((out) => Console.log(out.stdout)),
  Effect.provide(MicrosandboxLocal.layer()),
  Lightbox.runMain()
)

/** Bakes a snapshot with Python packages, and runs code in a sandbox booted from it. */
import { Console, Effect } from "effect"
import { Lightbox, Microsandbox, Sandbox, Snapshot } from "effect-lightbox"

const pyData = Snapshot.define({
  name: "py-data",
  image: "debian:12",
  resources: { cpus: 2, memory: "1G" },
  setup: ["apt-get update && apt-get install -y python3-yaml"]
})

Sandbox.run({ snapshot: Snapshot.build(pyData), name: "analysis-1" }, (sandbox) =>
  sandbox.exec("python3", ["-c", "import yaml; print(yaml.safe_load('answer: 42'))"])
).pipe(
  Effect.flatMap((out) => Console.log(out.stdout)),
  Effect.provide(Microsandbox.layer()),
  Lightbox.runMain()
)

/** Everything that a snapshot can be told: resources, environment, folder, steps with descriptions, labels. */
import { Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Snapshot } from "effect-lightbox"
import * as BuildReporter from "effect-lightbox/BuildReporter"

const pythonCi = Snapshot.make("python-ci", "python:3.12-slim").pipe(
  Snapshot.resources({ cpus: 1, memory: "512M" }),
  Snapshot.env({ CI: "true" }),
  Snapshot.workdir("/work"),
  Snapshot.shell("echo CI is $CI > /etc/motd", { description: "leave a message" }),
  Snapshot.exec("python3", ["--version"], { description: "try it" }),
  Snapshot.labels({ team: "platform", purpose: "ci" })
)

Effect.gen(function* () {
  yield* Snapshot.build(pythonCi, { onEvent: yield* BuildReporter.terminal() })
}).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())

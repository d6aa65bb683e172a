/** What it saves to resume a machine with its memory: the preview beside its own cold boot. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Path from "node:path"
import * as Image from "../../src/Image.ts"
import * as MicrosandboxPreview from "../../src/MicrosandboxPreview.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Busybox from "../images/Busybox.ts"
import { runtime } from "../MicrosandboxPreview/support.ts"
import { isEmulated, temporary } from "../support.ts"
import * as Row from "./Row.ts"

const definition = Snapshot.make("bench-warm", Busybox.reference).pipe(
  Snapshot.shell("mkdir /srv; echo hello > /srv/index.html"),
  Snapshot.resources({ cpus: 1, memory: "256M" }),
  Snapshot.defaults({ services: { web: { command: "exec httpd -f -p 8080 -h /srv", ready: { port: 8080 } } } })
)

/** From the launch to the first answer of the service. */
const answered = (snapshot: Snapshot.Snapshot, resume: "required" | false) =>
  Effect.scoped(
    Effect.gen(function* () {
      const start = performance.now()
      const sandbox = yield* Sandbox.launch({ snapshot, resume })
      yield* sandbox.shell("wget -q -O - http://127.0.0.1:8080/index.html", { check: true })
      return performance.now() - start
    })
  )

const resumed: Row.Bench = {
  name: "resume",
  rows: (n) =>
    Effect.gen(function* () {
      const home = Path.join(yield* temporary, "preview")
      const preview = yield* Layer.build(
        MicrosandboxPreview.layer({
          home,
          runtime,
          memory: "256M",
          bootTimeout: isEmulated ? "100 seconds" : undefined
        })
      )
      return yield* Effect.gen(function* () {
        yield* Image.load(yield* Busybox.archive)
        const snapshot = yield* Snapshot.build(definition, { warm: true })
        return [
          yield* Row.compare(
            "launch to the first answer of a service",
            n,
            { what: "resumed", round: answered(snapshot, "required") },
            { what: "booted", round: answered(snapshot, false) },
            { target: 0.5, warmUp: 1 }
          )
        ]
      }).pipe(Effect.provideContext(preview))
    })
}

export const benches: ReadonlyArray<Row.Bench> = [resumed]

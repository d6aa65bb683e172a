/**
 * A program on the twin that does not catch its error: `uncaught.ts STYLE WHAT`. The style is `effect`, run by
 * `Lightbox.runMain`, `runPromise`, run by `Effect.runPromise`, or `promise`. It builds a snapshot with a step that
 * fails (`step`), or launches from a snapshot that does not exist (`missing`).
 */
import * as Effect from "effect/Effect"
import { provide } from "../../../src/internal/promise/runtime.ts"
import * as Lightbox from "../../../src/Lightbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import { buildSnapshot, launchSandbox } from "../../../src/promise.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import * as Snapshot from "../../../src/Snapshot.ts"

const [style, what] = process.argv.slice(2)

/** 200 lines of 100 characters, more than an error keeps. */
const script = `i=100; while [ $i -lt 300 ]; do echo "line $i ${"x".repeat(91)}" >&2; i=$((i+1)); done; exit 3`

if (style === "promise") {
  provide(MicrosandboxMemory.layer())
  const main = async (): Promise<void> => {
    if (what === "missing") await launchSandbox({ snapshot: "missing", name: "worker" })
    await buildSnapshot({ name: "failing", image: "busybox", setup: [script] })
  }
  await main()
} else {
  const definition = Snapshot.make("failing", "busybox").pipe(Snapshot.shell(script))
  const program = (
    what === "missing"
      ? Effect.asVoid(Sandbox.launch({ snapshot: "missing" }))
      : Effect.asVoid(Snapshot.build(definition))
  ).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()))
  if (style === "effect") Lightbox.runMain()(program)
  else await Effect.runPromise(program)
}

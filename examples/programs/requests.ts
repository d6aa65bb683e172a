/**
 * Handles requests that run code of strangers: each gets a clean sandbox from a pool, without a network, and 5 seconds.
 * What the code has written until then is part of the answer.
 */
import { Console, Effect, Layer } from "effect"
import { Lightbox, MicrosandboxLocal, SandboxPool } from "effect-lightbox"

class Sandboxes extends SandboxPool.Service<Sandboxes>()("Sandboxes", {
  image: "busybox",
  network: "none",
  resources: { cpus: 1, memory: "128M" },
  min: 1,
  max: 2
}) {}

const handle = (code: string) =>
  Sandboxes.use((pool) =>
    pool.use((sandbox) =>
      Effect.gen(function* () {
        yield* sandbox.writeFileString("/root/main.sh", code)
        const out = yield* sandbox.exec("sh", ["/root/main.sh"], { timeout: "5 seconds", maxOutput: "1M" })
        return { status: `exit code ${out.exitCode}`, stdout: out.stdout, stderr: out.stderr }
      })
    )
  ).pipe(
    Effect.catchReason("LightboxError", "TimedOut", ({ stderr = "", stdout = "" }) =>
      Effect.succeed({ status: "too slow", stdout, stderr })
    )
  )

const requests = ["echo hello; echo oops >&2; exit 3", "echo begun; sleep 1000", "echo $(ls /root)"]

const program = Effect.gen(function* () {
  for (const answer of yield* Effect.forEach(requests, handle, { concurrency: "unbounded" })) {
    yield* Console.log(JSON.stringify(answer))
  }
})

program.pipe(Effect.provide(Sandboxes.layer.pipe(Layer.provide(MicrosandboxLocal.layer()))), Lightbox.runMain())

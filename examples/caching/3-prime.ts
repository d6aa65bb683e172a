/**
 * Pattern 3: fills a cache once, however many sandboxes need it and whichever comes first.
 *
 * Build it first: snapshots/list.ts
 */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox, Volume } from "effect-lightbox"

const mounts = { "/root/.cache/huggingface": { volume: "hf-cache" } }

const cache = Volume.prime("hf-cache", () =>
  Sandbox.run(
    { snapshot: "tools", mounts },
    (sandbox) =>
      sandbox.shell("cd /root/.cache/huggingface && dd if=/dev/zero of=weights bs=1M count=8", { check: true }) // a download
  )
)

const work = Effect.gen(function* () {
  yield* cache
  const sandbox = yield* Sandbox.launch({ snapshot: "tools", mounts })
  const out = yield* sandbox.shell("md5sum /root/.cache/huggingface/weights")
  yield* Console.log(out.stdout)
}).pipe(Effect.scoped)

Effect.all([work, work], { concurrency: "unbounded" }).pipe(
  Effect.provide(MicrosandboxLocal.layer()),
  Lightbox.runMain()
)

/**
 * Asks four agents for their versions in a sandbox that is always removed afterwards.
 *
 * Build it first: presets/coding-agents.ts
 */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Sandbox.run({ snapshot: "lightbox", name: "scratch" }, (sandbox) =>
  Effect.gen(function* () {
    const versions: Record<string, string> = {}
    for (const cli of ["copilot", "gemini", "codex", "pi"]) {
      const out = yield* sandbox.shell(`${cli} --version 2>&1 | head -1`)
      versions[cli] = out.stdout.trim()
    }
    return versions
  })
).pipe(
  Effect.flatMap((versions) => Console.log(versions)),
  Effect.provide(MicrosandboxLocal.layer()),
  Lightbox.runMain()
)

/**
 * Two agents at once, each in its own sandbox, booted before it was asked for, and more tasks than
 * sandboxes.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type * as Sandbox from "effect-lightbox/Sandbox"
import * as SandboxPool from "effect-lightbox/SandboxPool"
import * as Snapshot from "effect-lightbox/Snapshot"

const resources = { cpus: 1, memory: "128M" } as const

/** What an agent's command line would be: it works on one task, and leaves its notes behind. */
const agent = `#!/bin/sh
[ -e /root/notes ] && echo "somebody was here before" && exit 1
echo "$1" > /root/notes
[ "$1" = "divide by zero" ] && echo "can not $1" >&2 && exit 1
echo "$NAME did: $1"
`

const agents = Snapshot.make("agents", "busybox").pipe(
  Snapshot.resources(resources),
  Snapshot.write("/usr/bin/agent", agent, { mode: 0o755 })
)

const tasks = ["write tests", "divide by zero", "review", "release"]

const work = (task: string) => (sandbox: Sandbox.Sandbox) =>
  Effect.map(sandbox.exec("agent", [task], { check: true, timeout: "1 minute" }), ({ stdout }) => stdout.trim())

export const program = Effect.gen(function* () {
  const pool = yield* SandboxPool.make({ snapshot: Snapshot.build(agents), resources, min: 2, max: 2 })
  const results = pool.runMany(tasks.map(work), { retry: Schedule.recurs(1), settings: { env: { NAME: "agent" } } })
  yield* Stream.runForEach(results, ({ exit, index }) =>
    Console.log(Exit.isSuccess(exit) ? exit.value : `failed: ${tasks[index]}`)
  )
  const { booted, handedOut } = yield* pool.stats
  yield* Console.log(`${handedOut} sandboxes handed out, ${booted} booted`)
}).pipe(Effect.scoped, Effect.andThen(Snapshot.remove("agents")))

/** Shows what a command writes while it runs. Build it first: snapshots/list.promise.ts */
import { runInSandbox } from "effect-lightbox/promise"

await runInSandbox({ snapshot: "tools", name: "installer" }, async (sb) => {
  for await (const event of await sb.shellStream(
    "for n in 1 2 3; do echo package $n; sleep 0.2; done; echo warn >&2"
  )) {
    if (event.kind === "stdout") process.stdout.write(event.data)
    if (event.kind === "stderr") process.stderr.write(event.data)
    if (event.kind === "exited") console.log(`exit code ${event.code}`)
  }
})

/** A program with its arguments as they are, and a script in a shell. Build it first: snapshots/define.promise.ts */
import { runInSandbox } from "effect-lightbox/promise"

await runInSandbox({ snapshot: "python-ci", name: "commands" }, async (sb) => {
  const out = await sb.exec("python3", ["-c", "import sys; print('hello'); print('oops', file=sys.stderr); exit(3)"])
  console.log(out.code, out.success, out.stdout(), out.stderr())

  const listing = await sb.shell("ls -la /work | head -5 && echo done")
  console.log(listing.stdout())
})

/** Finds what runs, and uses it from another process. Launch it first: sandboxes/detach.promise.ts */
import { connectToSandbox, Sandbox } from "effect-lightbox/promise"

for (const h of await Sandbox.list()) console.log(h.name, h.status)

const sb = await connectToSandbox("agent-1")
console.log((await sb.shell("pi --version")).stdout())

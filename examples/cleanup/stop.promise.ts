/** Stops a sandbox that another process has launched. Its disk stays. Launch it first: sandboxes/detach.promise.ts */
import { connectToSandbox, Sandbox } from "effect-lightbox/promise"

const sb = await connectToSandbox("agent-1")
await sb.stop() // or, if it hangs: await sb.kill()

const handle = await Sandbox.get("agent-1")
console.log(handle.name, handle.status)

/** Shows how the pull of an image goes, with the SDK's own builder. */
import { removeSandbox, Sandbox } from "effect-lightbox/promise"

const creation = await Sandbox.builder("test").image("oven/bun").createDetachedWithPullProgress()
for await (const event of creation) console.log(event.kind)
const sb = await creation.awaitSandbox()
console.log(sb.name)

await removeSandbox("test", { force: true })

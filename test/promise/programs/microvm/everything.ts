/** What the twin cannot show: a pool, metrics, logs, a watch and a copied folder of a real guest. */
import { createPool } from "effect-lightbox/promise"
import * as Fs from "node:fs"

const [image = ""] = process.argv.slice(2)

await using pool = await createPool({ image, network: "none", min: 1, max: 1, resources: { memory: "128M" } })
const said = await pool.use(async (sb) => {
  const out = await sb.shell("echo $WHO", { env: { WHO: "pooled" }, check: true })
  const { memoryLimit, uptimeMs } = await sb.metrics()
  const ready = Promise.withResolvers<void>()
  const watching = sb.fs().watch("/root", { recursive: true, onReady: ready.resolve })
  const event = watching.next()
  await ready.promise
  Fs.mkdirSync("folder/sub", { recursive: true })
  Fs.writeFileSync("folder/sub/file", "copied")
  await sb.fs().copyFromHost("folder", "/root/in")
  const { value } = await event
  await watching.return?.()
  const lines: Array<string> = []
  for await (const { text } of sb.logs({ sources: ["stdout"], tail: 100 })) lines.push(text.trim())
  return [
    out.stdout().trim(),
    memoryLimit > 0 && uptimeMs > 0,
    value?.kind,
    await sb.fs().readToString("/root/in/sub/file"),
    lines.includes("pooled")
  ]
})
console.log(JSON.stringify(said), (await pool.stats()).handedOut)

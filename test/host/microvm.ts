/** Boots microVMs from the small image, with nothing but the SDK, and says how long each step takes. */
import { Image, Sandbox } from "microsandbox"

const rounds = Number(process.argv[2] ?? 1)
let before = 0
const step = (name: string) => {
  const now = performance.now()
  console.log(`${name}: ${((now - before) / 1000).toFixed(2)} s`)
  before = now
}

step("start of Node.js and import of the SDK")
const image = await Image.get(process.argv[3] ?? "lightbox.test/busybox:1")
step(`found ${image.reference}`)
for (let round = 0; round < rounds; round++) {
  const sandbox = await Sandbox.builder(`microvm-${round}`).image(image.reference).memory(256).create()
  step("create")
  const output = await sandbox.exec("echo", ["hello"])
  step(`exec, which said ${output.stdout().trim()}`)
  await sandbox.destroy({ force: true })
  step("destroy")
}

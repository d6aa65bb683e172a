/** Bakes data into a snapshot, and runs Python in a sandbox booted from it. */
import { buildSnapshot, runInSandbox } from "effect-lightbox/promise"

await buildSnapshot({
  name: "py-data",
  image: "python:3.12-slim",
  resources: { memory: "1G" },
  setup: ["mkdir /data && seq 100 > /data/numbers"]
})

const out = await runInSandbox({ snapshot: "py-data", name: "analysis-1" }, (sb) =>
  sb.exec("python3", ["-c", "print(sum(map(int, open('/data/numbers'))))"])
)
console.log(out.stdout())

/** Bakes a snapshot with Python packages, and runs code in a sandbox booted from it. */
import { buildSnapshot, runInSandbox } from "effect-lightbox/promise"

await buildSnapshot({
  name: "py-data",
  image: "debian:12",
  resources: { cpus: 2, memory: "1G" },
  setup: ["apt-get update && apt-get install -y python3-yaml"]
})

const out = await runInSandbox({ snapshot: "py-data", name: "analysis-1" }, (sb) =>
  sb.exec("python3", ["-c", "import yaml; print(yaml.safe_load('answer: 42'))"])
)
console.log(out.stdout())

/** Everything that a snapshot can be told: resources, environment, folder, steps with descriptions, labels. */
import { buildSnapshot, defineSnapshot, exec, shell } from "effect-lightbox/promise"

const pythonCi = defineSnapshot({
  name: "python-ci",
  image: "python:3.12-slim",
  resources: { cpus: 1, memory: "512M" },
  workdir: "/work",
  env: { CI: "true" },
  setup: [shell("echo CI is $CI > /etc/motd", "leave a message"), exec("python3", ["--version"], "try it")],
  labels: { team: "platform", purpose: "ci" }
})

await buildSnapshot(pythonCi, { verbose: true })

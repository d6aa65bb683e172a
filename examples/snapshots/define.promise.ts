/** Everything that a snapshot can be told: resources, environment, folder, steps with descriptions, labels. */
import { buildSnapshot, defineSnapshot, exec, shell } from "effect-lightbox/promise"

const pythonCi = defineSnapshot({
  name: "python-ci",
  image: "debian:12",
  resources: { cpus: 1, memory: "512M" },
  workdir: "/work",
  env: { CI: "true" },
  setup: [
    "echo CI is $CI > /etc/motd",
    shell("ln -s python3 /usr/bin/python", "call it python"),
    exec("python", ["--version"], "try it")
  ],
  labels: { team: "platform", purpose: "ci" }
})

await buildSnapshot(pythonCi, { verbose: true })

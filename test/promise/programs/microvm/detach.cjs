/** Builds nothing, for it is there, and leaves a sandbox running: `detach.cjs IMAGE` */
const assert = require("node:assert/strict")
const { buildSnapshot, configure, launchSandbox } = require("effect-lightbox/promise")

const image = process.argv[2]

const main = async () => {
  configure({ bootTimeoutMs: 100_000 })
  const events = []
  await buildSnapshot(
    {
      name: "quick-start",
      image,
      resources: { cpus: 1, memory: "256M" },
      env: { BAKED: "baked" },
      setup: [
        "mkdir /work /cache",
        { kind: "shell", script: "echo $BAKED > /etc/baked", description: "bake" },
        { kind: "exec", cmd: "test", args: ["-s", "/etc/baked"] }
      ],
      labels: { team: "platform" }
    },
    { onEvent: (event) => events.push(event._tag) }
  )
  assert.ok(!events.includes("Booting"), events.join())
  const sb = await launchSandbox({
    snapshot: "quick-start",
    name: "agent-1",
    resources: { memory: "256M" },
    workdir: "/work",
    env: { GREETING: "Hello" },
    mounts: { "/work": "./project", "/cache": { volume: "cache" } }
  })
  assert.equal((await sb.shell("cat /cache/file")).stdout(), "cached\n")
  await sb.detach()
  await assert.rejects(sb.exec("true"), /handle consumed/)
  console.log("done")
}

void main()

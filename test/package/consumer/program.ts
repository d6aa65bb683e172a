// A program that has never heard of Effect: everything that lightbox documents, and what came since.
import {
  buildSnapshot,
  type CallOptions,
  configure,
  type ConfigureOptions,
  connectToSandbox,
  defineSnapshot,
  ensureRuntime,
  ensureVolume,
  exec,
  type ExecHandle,
  type ExecOutput,
  launchSandbox,
  LightboxError,
  listSnapshots,
  listVolumes,
  removeSandbox,
  removeSnapshot,
  removeVolume,
  runInSandbox,
  Sandbox,
  shell,
  Snapshot,
  snapshotExists,
  Volume,
  volumeExists,
  VolumeHandle
} from "effect-lightbox/promise"
import type {
  BuildEvent,
  BuildOptions,
  EnsureVolumeOptions,
  LaunchOptions,
  Memory,
  Mount,
  PresetConfig,
  SetupStep,
  SnapshotConfig,
  SnapshotRecord,
  SnapshotResources,
  VolumeRecord
} from "effect-lightbox/promise"
import { codingAgentsPreset, type CodingAgentsPresetOptions } from "effect-lightbox/presets"

const settings: ConfigureOptions = { home: "/var/lib/sandboxes", bootTimeoutMs: 120_000 }
configure(settings)
const call: CallOptions = { signal: AbortSignal.timeout(10_000) }
await ensureRuntime(call)

const memory: Memory = "4G"
const resources: SnapshotResources = { cpus: 4, memory }
const steps: SetupStep[] = ["mkdir -p /work", shell("npm i -g pnpm", "install pnpm"), exec("cargo", ["--version"])]
const nodeCi = defineSnapshot({
  name: "node-ci",
  image: "node:22",
  resources,
  workdir: "/work",
  env: { CI: "true" },
  setup: steps,
  labels: { team: "platform", purpose: "ci" }
})
nodeCi.setup.push("npm i -g pnpm@9")
const config: SnapshotConfig = nodeCi
const events: BuildEvent[] = []
const options: BuildOptions = {
  overwrite: true,
  debugBuilder: false,
  verbose: true,
  onEvent: (event) => events.push(event)
}
await buildSnapshot(config, options)

const agents: CodingAgentsPresetOptions = { name: "lightbox-plus", labels: { tier: "premium" } }
const preset: PresetConfig = codingAgentsPreset(agents)
preset.setup.push(shell("apt-get update && apt-get install -y ripgrep", "ripgrep"))
await buildSnapshot(preset).catch(console.error)

const out: ExecOutput = await runInSandbox({ snapshot: "node-ci", name: "analysis-1" }, (sb) =>
  sb.exec("python", ["-c", "import pandas; print(pandas.__version__)"])
)
console.log(out.code, out.success, out.stdout(), out.stderr(), out.stdoutBytes().length)

const mounts: Record<string, Mount> = { "/work": "./my-project", "/cache": { volume: "npm-cache" } }
const launch: LaunchOptions = { snapshot: "node-ci", name: "ci-run-1", mounts, ports: { 8080: 80 }, workdir: "/work" }
const sb: Sandbox = await launchSandbox(launch)
const handle: ExecHandle = await sb.shellStream("npm install")
for await (const event of handle) {
  if (event.kind === "stdout" || event.kind === "stderr") process.stdout.write(event.data)
  else if (event.kind === "exited") console.log(event.code)
}
for await (const piece of await sb.fs().readStream("/etc/hostname")) console.log(piece.length)
await sb.detach()

await (await connectToSandbox("ci-run-1")).stop()
for (const found of await Sandbox.list()) console.log(found.name, found.status)
const stopped = await Sandbox.get("ci-run-1")
await stopped.remove()
for await (const event of await Sandbox.builder("test").image("oven/bun").createDetachedWithPullProgress()) {
  console.log(event.kind)
}

const records: SnapshotRecord[] = await listSnapshots({ signal: AbortSignal.timeout(1000) })
for (const { createdAt, imageRef, name, sizeBytes } of records)
  console.log(name, imageRef, sizeBytes, createdAt.getTime())
if (await snapshotExists("node-ci")) await removeSnapshot("node-ci", { force: true })
await removeSandbox("agent-1", { force: true })
console.log((await Snapshot.list()).length)

const quota: EnsureVolumeOptions = { quotaMib: 2048, labels: { ttl: "30d" } }
const volume: VolumeRecord = await ensureVolume("npm-cache", quota)
const stale = (await listVolumes()).filter(({ labels }) => labels.ttl === "30d")
for (const { name } of stale) await removeVolume(name)
const byName = await Volume.get(volume.name)
console.log(byName instanceof VolumeHandle, byName.usedBytes, await volumeExists("npm-cache"))

{
  await using scoped = await launchSandbox({
    snapshot: "node-ci",
    name: "scoped",
    network: "public",
    labels: { team: "platform" },
    mounts: { "/src": { bind: ".", readonly: true }, "/scratch": { tmpfs: "64M" } },
    secrets: { API_KEY: { value: "secret", hosts: ["api.example.com"] } },
    signal: AbortSignal.timeout(60_000)
  })
  await scoped.kill()
}

try {
  await launchSandbox({ snapshot: "none", name: "worker" })
} catch (error) {
  if (error instanceof LightboxError) console.log(error.reason._tag, error.isRetryable, error.step?.index)
}

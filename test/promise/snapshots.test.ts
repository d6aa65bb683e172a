import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { expect, vi } from "vitest"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { StillRunning } from "../../src/LightboxError.ts"
import {
  type BuildEvent,
  buildSnapshot,
  connectToSandbox,
  defineSnapshot,
  exec,
  fromDockerfile,
  launchSandbox,
  listSnapshots,
  planSnapshot,
  removeSnapshot,
  runInSandbox,
  Sandbox,
  shell,
  Snapshot,
  snapshotExists
} from "../../src/promise.ts"
import { reasonOf, rejection, twin, untyped, wrongField } from "./support.ts"

const memory = twin()

const read = async (snapshot: string, path: string): Promise<string> =>
  await runInSandbox({ snapshot, name: "reader" }, (sb) => sb.fs().readToString(path))

const image = "debian:12"

describe("snapshots", () => {
  it("returns a configuration unchanged", () => {
    const config = { name: "node-ci", image: "node:22", setup: ["npm i -g pnpm@9"] }
    assert.strictEqual(defineSnapshot(config), config)
  })

  it("create steps with and without descriptions", () => {
    assert.deepStrictEqual(shell("npm i -g pnpm"), { kind: "shell", script: "npm i -g pnpm" })
    assert.deepStrictEqual(shell("npm i -g pnpm", "install pnpm"), {
      kind: "shell",
      script: "npm i -g pnpm",
      description: "install pnpm"
    })
    assert.deepStrictEqual(exec("cargo"), { kind: "exec", cmd: "cargo" })
    assert.deepStrictEqual(exec("cargo", ["install", "cargo-nextest", "--locked"], "tooling"), {
      kind: "exec",
      cmd: "cargo",
      args: ["install", "cargo-nextest", "--locked"],
      description: "tooling"
    })
  })

  it("are made of Dockerfiles", async () => {
    const text = [
      `FROM ${image}`,
      "ARG WORD",
      "ENV PLACE=here",
      "RUN --mount=type=secret,id=a cat /run/secrets/a | wc -c > /length",
      "RUN echo $WORD > /word"
    ]
    const config = await fromDockerfile(
      "docker",
      { text: text.join("\n") },
      { args: { WORD: "hi" }, secrets: { a: "secret-value" } }
    )
    await buildSnapshot({ ...config, setup: ["echo $WORD$PLACE > /later"] })
    assert.strictEqual(await read("docker", "/word"), "hi\n")
    assert.strictEqual((await read("docker", "/length")).trim(), "12")
    assert.strictEqual(await read("docker", "/later"), "here\n")
    const { steps } = await planSnapshot({ ...config, setup: ["echo $WORD$PLACE > /later"] })
    assert.deepStrictEqual(steps.map(({ declaredAt }) => declaredAt?.replace(/:.*/, "")).slice(0, 2), [
      "Dockerfile",
      "Dockerfile"
    ])
    const error = await rejection(fromDockerfile("docker", { text: "FROM scratch" }))
    assert.include(error.message, "FROM scratch is not supported")
    assert.include(error.message, "1 | FROM scratch")
  })

  it("carry launch defaults, which a launch overrides", async () => {
    const config = {
      name: "server",
      image,
      env: { STEP: "1" },
      setup: ["mkdir -p /srv/app"],
      defaults: {
        workdir: "/srv/app",
        env: { A: "baked", B: "baked" },
        ports: { 0: 80 },
        labels: { tier: "web" },
        services: {
          one: { command: "touch /run/up; exec sleep 1000", ready: { file: "/run/up", timeoutMs: 20_000 } }
        }
      }
    }
    await buildSnapshot(config)
    const boots = await memory.count("createSandbox")
    const seen = async (sandbox: Sandbox) => [
      (await sandbox.exec("sh", ["-c", 'echo "$(pwd) $A $B ${STEP-none}"'])).stdout().trim(),
      sandbox.ports.map(({ guest }) => guest),
      (await sandbox.jobs()).map(({ id }) => id)
    ]
    assert.deepStrictEqual(await runInSandbox({ snapshot: "server" }, seen), [
      "/srv/app baked baked none",
      [80],
      ["one"]
    ])
    assert.deepStrictEqual(
      await runInSandbox({ snapshot: "server", workdir: "/", env: { B: "launched" }, ports: [], services: {} }, seen),
      ["/ baked launched none", [], []]
    )
    await buildSnapshot({ ...config, defaults: { ...config.defaults, services: {} } })
    assert.strictEqual(await memory.count("createSandbox"), boots + 2)
    assert.deepStrictEqual(await runInSandbox({ snapshot: "server" }, seen), ["/srv/app baked baked none", [80], []])
  })

  it("build with every option of a configuration", async () => {
    await buildSnapshot({
      name: "node-ci",
      image,
      resources: { cpus: 2, memory: "1G" },
      workdir: "/work",
      env: { CI: "true" },
      setup: [
        "echo $CI > ci",
        { kind: "shell", script: "pwd > where" },
        exec("cp", ["ci", "a b"]),
        exec("touch", ["$x"])
      ],
      labels: { team: "platform" }
    })
    assert.strictEqual(await read("node-ci", "/work/ci"), "true\n")
    assert.strictEqual(await read("node-ci", "/work/where"), "/work\n")
    assert.strictEqual(await read("node-ci", "/work/a b"), "true\n")
    assert.strictEqual(await read("node-ci", "/work/$x"), "")
    const [record] = await listSnapshots()
    assert.include(record, { name: "node-ci", imageRef: image })
    assert.deepStrictEqual(record?.labels, { team: "platform" })
    const created = (await memory.calls()).find(({ operation }) => operation === "createSandbox")
    assert.deepInclude(JSON.parse(JSON.stringify(created?.detail)), { source: { _tag: "Image", reference: image } })
  })

  it("create the working directory of steps", async () => {
    await buildSnapshot({ name: "deep", image, workdir: "/a/b/c", setup: ["touch here"] })
    assert.isTrue(await runInSandbox({ snapshot: "deep", name: "r" }, (sb) => sb.fs().exists("/a/b/c/here")))
  })

  it("set variables of a configuration for its steps, not for sandboxes", async () => {
    await buildSnapshot({ name: "env", image, env: { ONLY: "steps" }, setup: ["echo $ONLY > /seen"] })
    assert.strictEqual(await read("env", "/seen"), "steps\n")
    const out = await runInSandbox({ snapshot: "env", name: "r" }, (sb) => sb.shell("echo [$ONLY]"))
    assert.strictEqual(out.stdout(), "[]\n")
  })

  it("can be made from an image without steps", async () => {
    await buildSnapshot({ name: "plain", image })
    assert.isTrue(await snapshotExists("plain"))
    const out = await runInSandbox({ snapshot: "plain", name: "r" }, (sb) => sb.exec("true"))
    assert.isTrue(out.success)
  })

  it("list records in lightbox's shape", async () => {
    assert.deepStrictEqual(await listSnapshots(), [])
    await buildSnapshot({ name: "b", image })
    await buildSnapshot({ name: "a", image, setup: ["true"] })
    const records = await listSnapshots()
    assert.deepStrictEqual(
      records.map(({ name }) => name),
      ["a", "b"]
    )
    for (const record of records) {
      assert.match(record.digest, /^sha256:[0-9a-f]{64}$/)
      assert.instanceOf(record.createdAt, Date)
      assert.strictEqual(typeof record.sizeBytes, "bigint")
      const encoded = JSON.parse(JSON.stringify(record))
      assert.deepStrictEqual(
        { ...encoded, createdAt: new Date(encoded.createdAt), sizeBytes: BigInt(encoded.sizeBytes) },
        { ...record }
      )
      assert.isTrue(Path.isAbsolute(record.path) && Fs.existsSync(record.path))
    }
    assert.isNumber(JSON.parse(JSON.stringify(await Snapshot.get("a"))).sizeBytes)
    assert.isTrue(await snapshotExists("a"))
    assert.isFalse(await snapshotExists("c"))
    assert.isFalse(await snapshotExists("A"))
  })

  it("can be removed, even if missing", async () => {
    await buildSnapshot({ name: "a", image })
    await removeSnapshot("a")
    assert.isFalse(await snapshotExists("a"))
    await removeSnapshot("a")
    await removeSnapshot("a", { force: true })
    assert.deepStrictEqual((await memory.inventory()).snapshots, [])
  })

  it("can be removed without affecting sandboxes booted from them", async () => {
    await buildSnapshot({ name: "a", image, setup: ["echo old > /f"] })
    await using sb = await launchSandbox({ snapshot: "a", name: "s" })
    await removeSnapshot("a", { force: true })
    assert.strictEqual(await sb.fs().readToString("/f"), "old\n")
  })

  // ---------------------------------------------------------------------------
  // Building again
  // ---------------------------------------------------------------------------

  it("boot nothing when they are up to date", async () => {
    const config = { name: "a", image, setup: ["echo 1 > /f"] }
    await buildSnapshot(config)
    const before = await memory.count("createSandbox")
    await buildSnapshot(config)
    await buildSnapshot(config, { overwrite: true })
    assert.strictEqual(await memory.count("createSandbox"), before)
  })

  it("run every step again with rebuild", async () => {
    const config = { name: "a", image, setup: ["date +%N > /f"] }
    await buildSnapshot(config)
    const [before] = await listSnapshots()
    await buildSnapshot(config, { rebuild: true })
    const [after] = await listSnapshots()
    assert.notStrictEqual(after?.digest, before?.digest)
    assert.strictEqual(await memory.count("createSandbox"), 2)
  })

  it("are overwritten by default, and not with overwrite false", async () => {
    await buildSnapshot({ name: "a", image, setup: ["echo 1 > /f"] })
    await buildSnapshot({ name: "a", image, setup: ["echo 2 > /f"] })
    assert.strictEqual(await read("a", "/f"), "2\n")
    const error = await rejection(buildSnapshot({ name: "a", image, setup: ["echo 3 > /f"] }, { overwrite: false }))
    assert.strictEqual(error.reason._tag, "AlreadyExists")
    assert.include(error.message, 'Snapshot "a" already exists. Pass { overwrite: true }')
    assert.strictEqual(await read("a", "/f"), "2\n")
  })

  it("keep the old result when a build fails", async () => {
    await buildSnapshot({ name: "a", image, setup: ["echo old > /f"] })
    await rejection(buildSnapshot({ name: "a", image, setup: ["echo new > /f", "exit 3"] }))
    assert.strictEqual(await read("a", "/f"), "old\n")
  })

  it("allow concurrent builds of the same name", async () => {
    const build = (n: number) => buildSnapshot({ name: "a", image, setup: [`echo ${n} > /f`, "cp /f /g"] })
    await Promise.all([build(1), build(2), build(1)])
    const [f, g] = [await read("a", "/f"), await read("a", "/g")]
    assert.strictEqual(f, g)
    assert.include(["1\n", "2\n"], f)
    assert.deepStrictEqual((await memory.inventory()).sandboxes, [])
  })

  it("leave a user's sandbox with a builder's name alone", async () => {
    await buildSnapshot({ name: "base", image })
    await using own = await launchSandbox({ snapshot: "base", name: "a-builder" })
    await buildSnapshot({ name: "a", image, setup: ["true"] })
    assert.isTrue((await own.exec("true")).success)
    const error = await rejection(buildSnapshot({ name: "a", image, setup: ["false"] }, { debugBuilder: true }))
    assert.strictEqual(error.reason._tag, "AlreadyExists")
    assert.isTrue((await own.exec("true")).success)
  })

  // ---------------------------------------------------------------------------
  // Failures
  // ---------------------------------------------------------------------------

  it.each([
    ["exit 7", "setup step exited with code 7: exit 7"],
    [shell("exit 8", "a description"), "setup step exited with code 8: exit 8"],
    [exec("sh", ["-c", "exit 9"]), "setup step exited with code 9: sh -c exit 9"]
  ])("fail with the failed step: %j", async (step, message) => {
    const error = await rejection(buildSnapshot({ name: "a", image, setup: ["true", step, "touch /never"] }))
    assert.include(error.message, message)
    assert.strictEqual(error.reason._tag, "CommandFailed")
    assert.include(error.step, { definition: "a", index: 2, attempt: 1 })
    assert.deepStrictEqual((await memory.inventory()).sandboxes, [])
    assert.isFalse(await snapshotExists("a"))
  })

  it("show the last output of a failed step", async () => {
    const error = await rejection(
      buildSnapshot({ name: "a", image, setup: ["echo said; echo went wrong >&2; exit 1"] })
    )
    assert.include(error.message, "  | went wrong")
  })

  it("fail when the disk cannot be flushed", async () => {
    await memory.setImage("broken", {
      files: { "/usr/local/bin/sync": { content: "#!/bin/sh\necho no disk >&2\nexit 1\n", mode: 0o755 } }
    })
    const error = await rejection(buildSnapshot({ name: "a", image: "broken", setup: ["true"] }))
    assert.include(error.message, "sync failed: no disk")
    assert.deepStrictEqual((await memory.inventory()).sandboxes, [])
  })

  it("leave no builder when its creation fails", async () => {
    await memory.inject(MicrosandboxMemory.failAt("createSandbox", new StillRunning({ name: "whatever" })))
    await rejection(buildSnapshot({ name: "a", image, setup: ["true"] }))
    assert.deepStrictEqual((await memory.inventory()).sandboxes, [])
  })

  it.each([
    [{ name: "a b", image }, "name"],
    [{ name: "a", image: "" }, "image"],
    [{ name: "a", image, resources: { cpus: 0 } }, "resources.cpus"],
    [{ name: "a", image, workdir: "work" }, "workdir"],
    [{ name: "a", image, env: { "A=B": "" } }, "env.A=B"],
    [{ name: "a", image, setup: ["true", ""] }, "setup.1"],
    [{ name: "a", image, setup: [exec("")] }, "setup.0.cmd"],
    [{ name: "a", image, setup: [{ kind: "shell", script: "" }] }, "setup.0.script"],
    [{ name: "a", image, labels: { "": "" } }, "labels."],
    [{ name: "a", image, wrokdir: "/" }, "wrokdir"],
    [{ name: "a", image, setup: "true" }, "setup"],
    [{ name: "a", image, resources: { memory: "1X" } }, "resources.memory"]
  ])("reject %j before anything boots", async (config, field) => {
    const error = await rejection(buildSnapshot(untyped(config)))
    assert.strictEqual(wrongField(error), field)
    assert.strictEqual(await memory.count("createSandbox"), 0)
  })

  it("explain how to write memory when it is invalid", async () => {
    const error = await rejection(buildSnapshot(untyped({ name: "a", image, resources: { memory: "1.5G" } })))
    assert.include(error.message, 'Invalid memory string: "1.5G". Use e.g. "512M" or "2G".')
  })

  it("reject unknown options", async () => {
    const error = await rejection(buildSnapshot({ name: "a", image }, untyped({ verbos: true })))
    assert.strictEqual(wrongField(error), "verbos")
  })

  // ---------------------------------------------------------------------------
  // Looking at a build
  // ---------------------------------------------------------------------------

  it.each([
    ["failed", "exit 1"],
    ["succeeded", "true"]
  ])("keep the running builder of a build that %s, with debugBuilder", async (_, last) => {
    const config = { name: "a", image, setup: ["echo there > /f", last] }
    const built = buildSnapshot(config, { debugBuilder: true })
    if (last === "true") await built
    else assert.strictEqual((await rejection(built)).builder, "a-builder")
    const builder = await connectToSandbox(`${config.name}-builder`)
    assert.strictEqual((await builder.shell("cat /f")).stdout(), "there\n")
    // The next build replaces it.
    await buildSnapshot({ ...config, setup: ["echo there > /f", "touch /g"] }, { debugBuilder: true })
    assert.isTrue(await (await connectToSandbox("a-builder")).fs().exists("/g"))
    await (await Sandbox.get("a-builder")).kill()
  })

  it("remove the builder by default", async () => {
    await buildSnapshot({ name: "a", image, setup: ["true"] })
    assert.deepStrictEqual(await Sandbox.list(), [])
  })

  it("print nothing by default, and events and output with verbose", async () => {
    const out = vi.spyOn(process.stdout, "write").mockReturnValue(true)
    const err = vi.spyOn(process.stderr, "write").mockReturnValue(true)
    try {
      await buildSnapshot({ name: "a", image, setup: ["echo quiet"] })
      expect(out).not.toHaveBeenCalled()
      await buildSnapshot(
        { name: "b", image, setup: [shell("echo loud; echo oops >&2", "make noise")] },
        { verbose: true }
      )
      const printed = out.mock.calls.map(([text]) => String(text)).join("")
      assert.match(printed, /^\[lightbox\] creating builder "\S+" from debian:12\n/)
      assert.include(printed, "[lightbox] make noise\nloud\n")
      assert.include(printed, '[lightbox] creating snapshot "b"\n')
      assert.deepStrictEqual(
        err.mock.calls.map(([text]) => String(text)),
        ["oops\n"]
      )
    } finally {
      out.mockRestore()
      err.mockRestore()
    }
  })

  it("pass events to a listener, even if it throws", async () => {
    const events: Array<BuildEvent> = []
    await buildSnapshot(
      { name: "a", image, setup: ["echo one", "true"] },
      {
        onEvent: (event) => {
          events.push(event)
          throw new Error("on purpose")
        }
      }
    )
    const tags = events.map(({ _tag }) => _tag)
    for (const tag of [
      "Planned",
      "Booting",
      "Booted",
      "StepStarted",
      "StepOutput",
      "StepFinished",
      "Checkpointing",
      "Checkpointed",
      "Committed"
    ]) {
      assert.include(tags, tag)
    }
    assert.strictEqual(tags.at(-1), "Finished")
    const output = events.filter((event) => event._tag === "StepOutput")
    assert.deepStrictEqual(
      output.map(({ index, snapshot, stream, text }) => [snapshot, index, stream, text]),
      [["a", 1, "stdout", "one\n"]]
    )
    for (const event of events) {
      assert.strictEqual(typeof event.at, "number")
      assert.strictEqual(event.buildId, events[0]?.buildId)
    }
  })

  it("run scripts in a login shell, and programs without one", async () => {
    await buildSnapshot({ name: "a", image, setup: ["true", shell("false || true"), exec("echo", ["a b"])] })
    const spawned = (await memory.calls()).filter(({ operation }) => operation === "guest.spawn")
    assert.deepStrictEqual(
      spawned
        .map(({ detail }) => detail["argv"])
        .filter((argv) => !["kill", "sync"].includes(String(argv).split(",")[0] ?? "")),
      [
        ["/bin/sh", "-lc", "true"],
        ["/bin/sh", "-lc", "false || true"],
        ["echo", "a b"]
      ]
    )
  })

  it("stop an aborted build, clean up, and reject with the reason", async () => {
    await buildSnapshot({ name: "a", image, setup: ["echo old > /f"] })
    const controller = new AbortController()
    const building = buildSnapshot(
      { name: "a", image, setup: ["echo new > /f", "sleep 1000"] },
      {
        signal: controller.signal,
        onEvent: (event) => {
          if (event._tag === "StepStarted" && event.index === 2) controller.abort("enough")
        }
      }
    )
    assert.strictEqual(await reasonOf(building), "enough")
    assert.deepStrictEqual((await memory.inventory()).sandboxes, [])
    assert.strictEqual(await read("a", "/f"), "old\n")
  })
})

describe("Snapshot", () => {
  it("gets, lists, opens, verifies and removes snapshots", async () => {
    await buildSnapshot({ name: "a", image, setup: ["true"], labels: { team: "platform" } })
    const snapshot = await Snapshot.get("a")
    const [record] = await listSnapshots()
    assert.deepStrictEqual([snapshot.name, snapshot.digest, snapshot.imageRef], ["a", record?.digest, image])
    assert.strictEqual(snapshot.path, record?.path)
    assert.deepStrictEqual(snapshot.labels, [["team", "platform"]])
    assert.instanceOf(snapshot.createdAt, Date)
    assert.deepStrictEqual(
      (await Snapshot.list()).map(({ name }) => name),
      ["a"]
    )
    assert.strictEqual((await Snapshot.open("a")).digest, snapshot.digest)
    assert.strictEqual((await snapshot.open()).digest, snapshot.digest)
    assert.isTrue(await snapshot.verify())
    await snapshot.remove()
    assert.strictEqual((await rejection(Snapshot.get("a"))).reason._tag, "NotFound")
    await Snapshot.remove("a")
  })

  it("captures a stopped sandbox, through either builder", async () => {
    await buildSnapshot({ name: "base", image })
    await using sb = await launchSandbox({ snapshot: "base", name: "s" })
    await sb.fs().write("/f", "by hand")
    assert.strictEqual((await rejection(Snapshot.builder("x").fromSandbox("s").create())).reason._tag, "StillRunning")
    await sb.stop()
    const one = await Snapshot.builder("one").fromSandbox("s").label("a", "b").recordIntegrity().create()
    assert.deepStrictEqual([one.name, one.labels], ["one", [["a", "b"]]])
    assert.isTrue(await one.verify())
    const two = await Snapshot.builder("s").name("two").create()
    assert.isFalse(await two.verify())
    assert.strictEqual(await read("one", "/f"), "by hand")
    assert.strictEqual(await read("two", "/f"), "by hand")
  })

  it("overwrites a name only with force", async () => {
    await buildSnapshot({ name: "a", image, setup: ["echo old > /f"] })
    await using sb = await launchSandbox({ snapshot: "a", name: "s" })
    await sb.fs().write("/f", "new")
    await sb.stop()
    const builder = () => Snapshot.builder("a").fromSandbox("s")
    assert.strictEqual((await rejection(builder().create())).reason._tag, "AlreadyExists")
    assert.strictEqual(await read("a", "/f"), "old\n")
    await builder().force().create()
    assert.strictEqual(await read("a", "/f"), "new")
    assert.deepStrictEqual(
      (await Snapshot.list()).map(({ name }) => name),
      ["a"]
    )
  })

  it("rejects an invalid name", async () => {
    const error = await rejection(Snapshot.builder("a/b").fromSandbox("s").create())
    assert.strictEqual(wrongField(error), "name")
  })

  it("exports a snapshot to an archive, and imports it under another name", async () => {
    await buildSnapshot({ name: "a", image, setup: ["echo there > /f"] })
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "archive"))
    try {
      await Snapshot.export("a", Path.join(folder, "a.tar"))
      const loaded = await Snapshot.import(Path.join(folder, "a.tar"), "b")
      assert.strictEqual(loaded.name, "b")
      assert.strictEqual(await read("b", "/f"), "there\n")
    } finally {
      Fs.rmSync(folder, { recursive: true })
    }
  })
})

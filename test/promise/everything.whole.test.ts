/** What the Promise adapter offers beyond lightbox. */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Lightbox from "../../src/promise.ts"
import * as FakeRegistry from "../Snapshot/FakeRegistry.ts"
import { reasonOf, rejection, twin } from "./support.ts"

twin()

const image = "alpine"

/** A folder of this host, removed at the end. */
const temporary = () => {
  const path = Fs.mkdtempSync(Path.join(Os.tmpdir(), "t"))
  return { path, [Symbol.dispose]: () => Fs.rmSync(path, { recursive: true, force: true }) }
}

const collect = async <A>(values: AsyncIterable<A>): Promise<Array<A>> => {
  const all: Array<A> = []
  for await (const value of values) all.push(value)
  return all
}

describe("a pool", () => {
  it("hands out each sandbox once, with defaults for its user's commands", async () => {
    const pool = await Lightbox.createPool({ image, min: 1, max: 2, env: { A: "pool" } })
    const [first, second] = await Promise.all([
      pool.use(async (sb) => `${sb.name} ${(await sb.shell('echo "$A$B $PWD"')).stdout().trim()}`, {
        env: { B: "-user" },
        cwd: "/tmp"
      }),
      pool.use(async (sb) => sb.name)
    ])
    assert.match(first, /^\S+ pool-user \/tmp$/)
    assert.notStrictEqual(first.split(" ")[0], second)
    {
      await using sandbox = await pool.acquire()
      assert.include(
        (await Lightbox.Sandbox.list()).map(({ name }) => name),
        sandbox.name
      )
    }
    const { handedOut, max, min } = await pool.stats()
    assert.deepStrictEqual({ handedOut, max, min }, { handedOut: 3, max: 2, min: 1 })
    await pool.close()
    assert.deepStrictEqual(await Lightbox.Sandbox.list(), [])
  })

  it("removes the sandbox of a callback that rejects or is aborted", async () => {
    await using pool = await Lightbox.createPool({ image, min: 0, max: 1 })
    const wrong = new Error("wrong")
    assert.strictEqual(await reasonOf(pool.use(() => Promise.reject(wrong))), wrong)
    const controller = new AbortController()
    const { signal } = controller
    const aborted = pool.use(
      async (sb) => {
        controller.abort("enough")
        await sb.exec("sleep", ["1000"])
      },
      { signal }
    )
    assert.strictEqual(await reasonOf(aborted), "enough")
    assert.deepStrictEqual(await Lightbox.Sandbox.list(), [])
    assert.strictEqual(await pool.use(async () => "next"), "next")
  })

  it("runs many tasks, and tells what each did", async () => {
    await using pool = await Lightbox.createPool({ image, max: 2 })
    const wrong = new Error("wrong")
    const tasks: Array<(sb: Lightbox.Sandbox) => Promise<string>> = [
      async (sb: Lightbox.Sandbox) => (await sb.exec("echo", ["0"])).stdout().trim(),
      () => Promise.reject(wrong),
      async (sb: Lightbox.Sandbox) => (await sb.exec("echo", ["2"])).stdout().trim()
    ]
    assert.deepStrictEqual(await collect(pool.runMany(tasks, { ordered: true })), [
      { index: 0, status: "fulfilled", value: "0" },
      { index: 1, status: "rejected", reason: wrong },
      { index: 2, status: "fulfilled", value: "2" }
    ])
    let attempts = 0
    const flaky = async () => {
      if (attempts++ < 2) throw wrong
      return attempts
    }
    assert.deepStrictEqual(await collect(pool.runMany([flaky], { retries: 2 })), [
      { index: 0, status: "fulfilled", value: 3 }
    ])
    for await (const { index } of pool.runMany([
      async () => "",
      async (sb) => (await sb.exec("sleep", ["1000"])).stdout()
    ])) {
      assert.strictEqual(index, 0)
      break
    }
    assert.strictEqual((await pool.stats()).used, 0)
  })

  it("rejects with the error of a boot", async () => {
    await using pool = await Lightbox.createPool({ snapshot: "later", max: 1 }).catch((error: unknown) => {
      assert.strictEqual(error instanceof Lightbox.LightboxError && error.reason._tag, "NotFound")
      return Lightbox.createPool({ image, max: 1, mounts: { "/x": { volume: "v", create: false } } })
    })
    assert.strictEqual((await rejection(pool.acquire())).reason._tag, "NotFound")
  })
})

describe("steps", () => {
  it("of every kind build a snapshot", async () => {
    using host = temporary()
    Fs.mkdirSync(Path.join(host.path, "src"))
    Fs.writeFileSync(Path.join(host.path, "src/a.txt"), "copied")
    Fs.writeFileSync(Path.join(host.path, "src/b.log"), "left out")
    const seen: Array<string> = []
    const config = Lightbox.defineSnapshot({
      name: "every-step",
      from: { name: "base", image, setup: ["echo base > /base"] },
      resources: { cpus: 2, memory: "1G", disk: "8G" },
      labels: { a: "b" },
      setup: [
        Lightbox.workdir("/work"),
        Lightbox.env({ GREETING: "hello" }),
        Lightbox.copy(Path.join(host.path, "src"), "/work/src", { ignore: ["*.log"], mode: 0o600 }),
        Lightbox.write("/work/note", "written", { mode: 0o640 }),
        Lightbox.shell("echo $GREETING $TOKEN > out", {
          description: "say it",
          secrets: { TOKEN: "s" },
          retries: { times: 1, delayMs: 1 }
        }),
        Lightbox.exec("touch", ["/work/touched"], { timeoutMs: 10_000, env: { A: "b" } }),
        Lightbox.checkpoint(),
        Lightbox.step(
          "seed",
          async (sandbox, options) => {
            seen.push((await sandbox.exec("cat", ["out"], options)).stdout())
            await sandbox.fs().write("/seeded", "yes", options)
          },
          { key: "1" }
        ),
        Lightbox.user("root"),
        Lightbox.skipCache(),
        "echo last > /last"
      ],
      verify: async (sandbox, options) => {
        seen.push(await sandbox.fs().readToString("/seeded", options))
      }
    })
    await Lightbox.buildSnapshot(config, { keep: 3, checkpoints: "marked" })
    assert.deepStrictEqual(seen, ["hello s\n", "yes"])
    await Lightbox.runInSandbox({ snapshot: "every-step" }, async (sb) => {
      const out = await sb.shell("cat /base /work/src/a.txt /work/note /last; ls /work/src; stat -c %a /work/note")
      assert.strictEqual(out.stdout(), "base\ncopiedwrittenlast\na.txt\n640\n")
    })
  })

  it("install packages and clone repositories with the guest's programs", async () => {
    const setup = [
      Lightbox.apt(["git"]),
      Lightbox.npm(["pnpm@9"]),
      Lightbox.pip(["numpy"]),
      Lightbox.gitClone("https://example.com/a", "/a", { ref: "v1" })
    ]
    const plan = await Lightbox.planSnapshot({ name: "tools", image, setup })
    assert.deepStrictEqual(
      plan.steps.map(({ description }) => description),
      ["apt: git", "npm: pnpm@9", "pip: numpy", "git clone https://example.com/a"]
    )
  })

  it("that reject fail the build with their reason and their step", async () => {
    const wrong = new TypeError("no database")
    const config = { name: "n", image, setup: ["true", Lightbox.step("seed", () => Promise.reject(wrong))] }
    const { reason, step } = await rejection(Lightbox.buildSnapshot(config))
    assert.strictEqual(reason._tag === "Unknown" && reason.cause, wrong)
    assert.strictEqual(step?.index, 2)
    let attempts = 0
    const flaky = Lightbox.step("flaky", async () => void (attempts++ === 0 && (await Promise.reject(wrong))), {
      retries: 1,
      retryFrom: "dirty"
    })
    await Lightbox.buildSnapshot({ name: "n", image, setup: [flaky] })
    assert.strictEqual(attempts, 2)
    const failing = { name: "v", image, verify: () => Promise.reject(wrong) }
    assert.strictEqual((await rejection(Lightbox.buildSnapshot(failing))).reason._tag, "Unknown")
    assert.isFalse(await Lightbox.snapshotExists("v"))
  })
})

describe("plans and generations", () => {
  it("say what a build would do and why, and go back", async () => {
    const config = (line: string) => ({ name: "app", image, setup: ["echo 1 > /a", `echo ${line} > /b`] })
    const before = await Lightbox.planSnapshot(config("2"))
    assert.deepStrictEqual([before.isCached, before.steps[0]?.reason?._tag], [false, "BaseUnknown"])
    await Lightbox.buildSnapshot(config("2"))
    const after = await Lightbox.planSnapshot(config("3"))
    const reason = after.steps[1]?.reason
    assert.include(reason?._tag === "ArgumentsChanged" ? reason.now : "", "echo 3 > /b")
    assert.match(String(after), /^app from alpine[^]* steps to run\./)
    assert.isTrue((await Lightbox.planSnapshot(config("2"))).isCached)
    assert.isFalse((await Lightbox.planSnapshot(config("2"), { rebuild: 2 })).isCached)
    await Lightbox.buildSnapshot(config("3"))
    const all = await Lightbox.listGenerations("app")
    assert.deepStrictEqual(
      all.map(({ generation, isCurrent }) => [generation, isCurrent]),
      [
        [1, false],
        [2, true]
      ]
    )
    assert.instanceOf(all[0]?.createdAt, Date)
    assert.deepStrictEqual(all[1]?.build, { image, steps: ["echo 1 > /a", "echo 3 > /b"] })
    assert.strictEqual((await Lightbox.rollbackSnapshot("app")).name, "app")
    const out = await Lightbox.runInSandbox({ snapshot: "app" }, (sb) => sb.exec("cat", ["/b"]))
    assert.strictEqual(out.stdout(), "2\n")
    assert.strictEqual((await rejection(Lightbox.rollbackSnapshot("app", { to: 9 }))).reason._tag, "NotFound")
  })

  it("are saved to a file and loaded, and pruned", async () => {
    using host = temporary()
    const path = Path.join(host.path, "app.tar")
    await Lightbox.buildSnapshot({ name: "app", image, setup: ["echo 1 > /a"] })
    await Lightbox.saveSnapshot("app", path, { generations: "current", compress: false })
    assert.strictEqual((await Lightbox.loadSnapshot(path, { name: "copy" })).name, "copy")
    const out = await Lightbox.runInSandbox({ snapshot: "copy" }, (sb) => sb.exec("cat", ["/a"]))
    assert.strictEqual(out.stdout(), "1\n")
    const dry = await Lightbox.pruneSnapshots({ keep: 1, dryRun: true })
    assert.deepInclude(dry, { dryRun: true, isComplete: true })
    assert.include(
      (await Lightbox.pruneSnapshots({ olderThanMs: 1 })).verdicts.map(({ resource }) => resource),
      "snapshot"
    )
  })

  it("are pushed to a registry and pulled", async () => {
    const registry = await FakeRegistry.start()
    const reference = `${registry.host}/team/app:1`
    await Lightbox.buildSnapshot({ name: "app", image, setup: ["echo 1 > /a"] })
    const heard: Array<Lightbox.TransferProgress> = []
    const onProgress = (progress: Lightbox.TransferProgress) => {
      heard.push(progress)
      throw new Error("not heard")
    }
    const pushed = await Lightbox.pushSnapshot("app", reference, { onProgress })
    assert.deepInclude(heard.at(-1), { reference, done: pushed.total, total: pushed.total, moved: pushed.moved })
    await Lightbox.removeSnapshot("app")
    const pulled = await Lightbox.pullSnapshot("copy", `${registry.host}/team/app@${pushed.digest}`, { trusted: false })
    assert.strictEqual(pulled.name, "copy")
    const out = await Lightbox.runInSandbox({ snapshot: "copy" }, (sb) => sb.exec("cat", ["/a"]))
    assert.strictEqual(out.stdout(), "1\n")
    registry.stop()
    const { reason } = await rejection(Lightbox.pullSnapshot("copy", reference))
    assert.deepInclude(reason, { _tag: "TransferFailed", kind: "Unreachable" })
  })

  it("of a temporary snapshot end with its block", async () => {
    let name = ""
    {
      await using prepared = await Lightbox.buildTemporarySnapshot({ name: "fixture", image, setup: ["echo 1 > /a"] })
      name = prepared.name
      assert.match(name, /^fixture-/)
      const out = await Lightbox.runInSandbox({ snapshot: name }, (sb) => sb.exec("cat", ["/a"]))
      assert.strictEqual(out.stdout(), "1\n")
    }
    assert.isFalse(await Lightbox.snapshotExists(name))
  })
})

describe("a sandbox", () => {
  it("takes every option", async () => {
    const options: Lightbox.LaunchOptions = {
      image,
      user: "root",
      hostname: "worker-1",
      scripts: { hi: "#!/bin/sh\necho hi" },
      rlimits: { nofile: 1024 },
      security: "restricted",
      idleTimeoutMs: 60_000,
      maxDurationMs: 3_600_000,
      pullPolicy: "if-missing",
      registry: { username: "me", password: "p" },
      patches: [{ _tag: "Write", path: "/etc/patched", content: "patched" }],
      metricsIntervalMs: 500,
      network: {
        policy: { egress: "deny", rules: [{ action: "allow", to: { domain: "example.com" }, ports: [443] }] },
        dns: { queryTimeoutMs: 2000 }
      },
      secrets: { KEY: { value: "s3cret", hosts: ["example.com"], placeholder: "holder", inject: { body: true } } },
      resources: { cpus: 1, maxCpus: 2, memory: "512M", maxMemory: "1G", disk: "1G" }
    }
    await using sb = await Lightbox.launchSandbox(options)
    const out = await sb.shell("cat /etc/patched; echo; hostname; echo $KEY", { check: true })
    assert.strictEqual(out.stdout(), "patched\nworker-1\nholder\n")
  })

  it("reports the progress of the pull of its image", async () => {
    const tags = new Set<string>()
    await using _sb = await Lightbox.launchSandbox({ image: "new", onPullProgress: ({ _tag }) => tags.add(_tag) })
    assert.include([...tags], "Pulled")
  })

  it("has logs, metrics and a round trip", async () => {
    await using sb = await Lightbox.launchSandbox({ image, name: "observed" })
    await sb.shell("echo one; echo two >&2")
    const entries = await collect(sb.logs())
    assert.sameMembers(
      entries.map(({ source, text }) => `${source} ${text}`),
      ["stdout one\n", "stderr two\n"]
    )
    assert.strictEqual((await collect(sb.logs({ tail: 1 }))).length, 1)
    const metrics = await sb.metrics()
    assert.isAbove(metrics.memoryLimit, 0)
    assert.isAtLeast(metrics.uptimeMs, 0)
    assert.instanceOf(metrics.timestamp, Date)
    assert.isAtLeast(await sb.ping(), 0)
    await sb.touch()
    const following = sb.logs({ follow: true, sources: ["stdout"], after: entries.at(-1)?.cursor })
    const next = following.next()
    await sb.shell("echo three")
    assert.strictEqual((await next).value?.text, "three\n")
    await following.return?.()
    const handle = await Lightbox.Sandbox.get("observed")
    await sb.stop({ timeoutMs: 5000 })
    assert.strictEqual((await handle.waitFor("stopped")).status, "stopped")
    assert.strictEqual((await collect(handle.logs({ sources: ["stdout"] }))).length, 2)
  })

  it("is changed, listed by labels, and restarted", async () => {
    await using sb = await Lightbox.launchSandbox({ image, name: "changing", labels: { team: "a" } })
    const plan = await sb.modify({ labels: { more: "b" }, workdir: "/tmp", dryRun: true, apply: "next-start" })
    assert.isFalse(plan.applied)
    assert.include(
      plan.changes.map(({ field }) => field),
      "workdir"
    )
    assert.deepStrictEqual(await Lightbox.Sandbox.list({ labels: { team: "b" } }), [])
    const [handle] = await Lightbox.Sandbox.list({ labels: { team: "a" } })
    await sb.fs().write("/root/kept", "kept")
    const again = await handle?.restart({ timeoutMs: 5000 })
    assert.strictEqual(await again?.fs().readToString("/root/kept"), "kept")
    await again?.detachFor(60_000).catch((error: unknown) => {
      assert.strictEqual(error instanceof Lightbox.LightboxError && error.reason._tag, "Unsupported")
    })
  })

  it("fails commands on request, with their output", async () => {
    await using sb = await Lightbox.launchSandbox({ image })
    const failed = await rejection(sb.shell("echo no; exit 3", { check: true }))
    assert.strictEqual(failed.reason._tag === "CommandFailed" && failed.reason.exitCode, 3)
    const large = await rejection(sb.shell("echo 0123456789", { maxOutput: 5 }))
    assert.strictEqual(large.reason._tag, "OutputTooLarge")
    const late = await rejection(sb.shell("echo begun; sleep 1000", { timeoutMs: 300 }))
    assert.strictEqual(late.reason._tag === "TimedOut" && late.reason.stdout, "begun\n")
  })
})

describe("files", () => {
  it("are copied by the folder, linked, appended and watched", async () => {
    using host = temporary()
    Fs.mkdirSync(Path.join(host.path, "sub"))
    Fs.writeFileSync(Path.join(host.path, "sub/a.txt"), "a")
    Fs.writeFileSync(Path.join(host.path, "b.log"), "b")
    await using sb = await Lightbox.launchSandbox({ image })
    const fs = sb.fs()
    await fs.copyFromHost(host.path, "/in/deep", { ignore: ["*.log"] })
    assert.strictEqual(await fs.readToString("/in/deep/sub/a.txt"), "a")
    assert.isFalse(await fs.exists("/in/deep/b.log"))
    await fs.copyToHost("/in", Path.join(host.path, "out"))
    assert.strictEqual(Fs.readFileSync(Path.join(host.path, "out/deep/sub/a.txt"), "utf8"), "a")
    await fs.symlink("deep/sub", "/in/link")
    assert.strictEqual(await fs.readLink("/in/link"), "deep/sub")
    assert.strictEqual(await fs.realPath("/in/link"), "/in/deep/sub")
    await fs.write("/in/log", "1\n", { mode: 0o600 })
    await fs.write("/in/log", "2\n", { append: true })
    assert.deepStrictEqual([await fs.readToString("/in/log"), (await fs.stat("/in/log")).mode], ["1\n2\n", 0o600])
    const ready = Promise.withResolvers<void>()
    const watching = fs.watch("/in", { recursive: true, onReady: ready.resolve })
    const event = watching.next()
    await ready.promise
    await fs.write("/in/deep/new", "new")
    assert.deepStrictEqual((await event).value, { kind: "create", path: "deep/new" })
    await watching.return?.()
    assert.strictEqual((await rejection(fs.watch("/none").next())).reason._tag, "FileError")
  })
})

describe("images and volumes", () => {
  it("are listed, saved, loaded and removed", async () => {
    using host = temporary()
    await Lightbox.runInSandbox({ image }, (sb) => sb.exec("true"))
    const [listed] = await Lightbox.listImages()
    assert.include(listed?.reference, "alpine")
    assert.isNotNull((await Lightbox.getImage(image)).cmd)
    const path = Path.join(host.path, "image.tar")
    await Lightbox.saveImages([image], path)
    await Lightbox.loadImages(path, { tag: "mine:1" })
    assert.include((await Lightbox.getImage("mine:1")).reference, "mine:1")
    await Lightbox.removeImage("mine:1")
    assert.strictEqual((await rejection(Lightbox.getImage("mine:1"))).reason._tag, "NotFound")
    const { verdicts } = await Lightbox.pruneImages({ dryRun: true })
    assert.deepStrictEqual(
      verdicts.map(({ verdict }) => verdict),
      ["removable"]
    )
  })

  it("are filled once, and pruned by label", async () => {
    let filled = 0
    const fill = async () => void filled++
    const wrong = new Error("wrong")
    assert.strictEqual(await reasonOf(Lightbox.primeVolume("deps", () => Promise.reject(wrong))), wrong)
    await Promise.all([1, 2].map(() => Lightbox.primeVolume("deps", fill, { labels: { a: "b" } })))
    assert.strictEqual(filled, 1)
    await Lightbox.primeVolume("deps", fill, { key: "2" })
    assert.strictEqual(filled, 2)
    await Lightbox.ensureVolume("other", { labels: { tier: "ci" } })
    assert.deepStrictEqual(
      (await Lightbox.pruneVolumes({ labels: { tier: "ci" } })).verdicts.map(({ name, verdict }) => [name, verdict]),
      [["other", "removed"]]
    )
    assert.isTrue((await Lightbox.sweep({ dryRun: true, timeoutMs: 5000 })).isComplete)
  })
})

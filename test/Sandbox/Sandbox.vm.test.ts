/** Sandboxes and volumes on real microVMs. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxRecord from "../../src/SandboxRecord.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import * as Support from "../microvm/support.ts"
import { freePort, isEmulated } from "../support.ts"

const sha256 = (bytes: Uint8Array): string => Crypto.createHash("sha256").update(bytes).digest("hex")

const chunks = (bytes: Uint8Array, size: number): Stream.Stream<Uint8Array> =>
  Stream.range(0, Math.ceil(bytes.length / size) - 1).pipe(
    Stream.map((index) => bytes.subarray(index * size, (index + 1) * size))
  )

/** Software emulation takes a tenth of a second for a command. */
const megabytes = isEmulated ? 20 : 100
const commands = isEmulated ? 300 : 1000

layer(Support.layer, { excludeTestServices: true })("sandboxes", (it) => {
  it.layer(Sandbox.layer({ name: "shared", image: Support.image, env: { FROM: "the launch" }, cwd: "/home" }))(
    "in one sandbox",
    (it) => {
      it.effect("runs commands with the options of the launch and of the command", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const script = "echo $FROM, $OWN, $(pwd), $(id -un)"
          const plain = yield* sandbox.shell(script)
          const told = yield* sandbox.shell(script, { env: { OWN: "the command" }, cwd: "/etc", user: "app" })
          assert.deepStrictEqual(
            [plain.stdout, told.stdout],
            ["the launch, , /home, root\n", "the launch, the command, /etc, app\n"]
          )
          const failed = yield* sandbox.shell("echo out; echo err >&2; exit 9")
          assert.deepStrictEqual([failed.exitCode, failed.stdout, failed.stderr], [9, "out\n", "err\n"])
          // Its input is closed: a command that reads it to the end ends.
          assert.strictEqual((yield* sandbox.exec("cat")).stdout, "")
        })
      )

      it.effect("reports commands that do not start, fail or take too long", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const reasonOf = (command: string, args?: ReadonlyArray<string>, options?: Sandbox.ExecOptions) =>
            Effect.map(Effect.flip(sandbox.exec(command, args, options)), ({ reason }) => reason)

          assert.deepInclude(yield* reasonOf("no-such-program", ["x"]), {
            _tag: "CommandNotStarted",
            kind: "ProgramNotFound",
            argv: ["no-such-program", "x"]
          })
          assert.deepInclude(yield* reasonOf("true", [], { cwd: "/no/such/folder" }), {
            _tag: "CommandNotStarted",
            kind: "BadWorkdir"
          })
          assert.deepInclude(yield* reasonOf("/etc/passwd"), { _tag: "CommandNotStarted", kind: "PermissionDenied" })
          assert.deepInclude(yield* reasonOf("true", [], { user: "nobody-knows" }), {
            _tag: "CommandNotStarted",
            kind: "UnknownUser"
          })
          assert.deepInclude(yield* reasonOf("sh", ["-c", "echo bad >&2; exit 3"], { check: true }), {
            _tag: "CommandFailed",
            exitCode: 3,
            stderr: "bad\n"
          })
          assert.deepInclude(yield* reasonOf("sh", ["-c", "sleep 1234 & sleep 1234"], { timeout: "1 second" }), {
            _tag: "TimedOut",
            limitMillis: 1000
          })
          // With everything it had started.
          const left = yield* sandbox
            .shell("ps -o args | grep -c '^sleep 1234'")
            .pipe(Effect.repeat({ until: ({ stdout }) => stdout === "0\n", schedule: Schedule.spaced("50 millis") }))
          assert.strictEqual(left.stdout, "0\n")
        })
      )

      it.effect("transfers 10 MB through output and input unchanged", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const { stdout: sum } = yield* sandbox.shell(
            "head -c 10000000 /dev/urandom > /root/random && sha256sum < /root/random",
            { check: true }
          )
          const expected = sum.slice(0, 64)
          const { stdoutBytes } = yield* sandbox.exec("cat", ["/root/random"], { check: true })
          assert.deepStrictEqual([stdoutBytes.length, sha256(stdoutBytes)], [10_000_000, expected])

          const back = yield* sandbox.exec("sha256sum", [], { stdin: chunks(stdoutBytes, 300_000), check: true })
          assert.strictEqual(back.stdout.slice(0, 64), expected)

          const both = yield* sandbox.shell("cat /root/random & cat /root/random >&2; wait", { check: true })
          assert.deepStrictEqual([sha256(both.stdoutBytes), sha256(both.stderrBytes)], [expected, expected])
        })
      )

      it.effect(`transfers a file of ${megabytes} MB in and out unchanged`, () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const bytes = Crypto.randomBytes(megabytes * 1_000_000)
          yield* sandbox.writeFile("/root/whole", bytes)
          yield* Stream.run(chunks(bytes, 700_000), sandbox.sink("/root/pieces", { mode: 0o640 }))
          const { stdout } = yield* sandbox.shell("sha256sum /root/whole /root/pieces; stat -c %a /root/pieces")
          const sum = sha256(bytes)
          assert.strictEqual(stdout, `${sum}  /root/whole\n${sum}  /root/pieces\n640\n`)
          assert.isTrue(bytes.equals(yield* sandbox.readFile("/root/whole")))
          const range = yield* Stream.mkUint8Array(sandbox.stream("/root/pieces", { offset: bytes.length - 1_000_000 }))
          assert.isTrue(bytes.subarray(-1_000_000).equals(range))
        })
      )

      it.effect("copies a folder in and out with its permissions and links", () =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const path = yield* Path.Path
          const sandbox = yield* Sandbox.Sandbox
          const folder = path.join((yield* Support.Home).files, "copied")
          yield* fs.makeDirectory(path.join(folder, "in", "empty"), { recursive: true })
          yield* fs.writeFileString(path.join(folder, "in", "tool"), "#!/bin/sh\necho ran\n", { mode: 0o755 })
          yield* fs.symlink("tool", path.join(folder, "in", "link"))
          yield* sandbox.copyIn(path.join(folder, "in"), "/root/copied", { owner: "app" })
          const { stdout } = yield* sandbox.shell("/root/copied/link && stat -c '%U %a' /root/copied/tool")
          assert.strictEqual(stdout, "ran\napp 755\n")

          yield* sandbox.copyOut("/root/copied", path.join(folder, "out"))
          assert.deepStrictEqual((yield* fs.readDirectory(path.join(folder, "out"))).toSorted(), [
            "empty",
            "link",
            "tool"
          ])
          assert.strictEqual((yield* fs.stat(path.join(folder, "out", "tool"))).mode & 0o777, 0o755)
          assert.strictEqual(yield* fs.readLink(path.join(folder, "out", "link")), "tool")
          yield* sandbox.copyOut("/root/copied/tool", path.join(folder, "single"))
          assert.strictEqual(yield* fs.readFileString(path.join(folder, "single")), "#!/bin/sh\necho ran\n")
          yield* sandbox.shell("ln -s /etc /root/copied/astray", { check: true })
          const refused = yield* Effect.flip(sandbox.copyOut("/root/copied", path.join(folder, "refused")))
          assert.strictEqual(refused.reason._tag, "FileError")
        })
      )

      it.effect(`runs ${commands} commands one after the other`, () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const numbers = Array.from({ length: commands }, (_, index) => `${index}`)
          const results = yield* Effect.forEach(numbers, (number) => sandbox.exec("echo", [number]))
          assert.deepStrictEqual(
            results.map(({ stdout }) => stdout.trim()),
            numbers
          )
        })
      )

      it.effect("is reachable over SSH with the runtime's tool", () =>
        Effect.gen(function* () {
          const { exitCode, stdout } = yield* Support.outcome(
            Support.msb("ssh", "shared", "--", "echo over ssh; exit 3")
          )
          assert.deepStrictEqual([exitCode, stdout], [3, "over ssh\n"])
          const sandbox = yield* Sandbox.Sandbox
          assert.strictEqual((yield* sandbox.info).status, "running")
        })
      )

      it.effect("rejects a second sandbox with the same name, and keeps the first", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const error = yield* Effect.flip(Effect.scoped(Sandbox.launch({ name: "shared", image: Support.image })))
          assert.deepInclude(error.reason, { _tag: "AlreadyExists", resource: "sandbox", name: "shared" })
          assert.strictEqual((yield* sandbox.exec("echo", ["still here"])).stdout, "still here\n")
          assert.strictEqual((yield* Sandbox.get("shared")).id, sandbox.id)
        })
      )

      it.effect("shares a folder and a volume with a second sandbox", () =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const path = yield* Path.Path
          const folder = path.join((yield* Support.Home).files, "both")
          yield* fs.makeDirectory(folder)
          yield* Volume.ensure("both", { quota: "64M", labels: { for: "tests" } })
          const launch = (readonly: boolean) =>
            Sandbox.launch({
              image: Support.image,
              mounts: { "/folder": { bind: folder, readonly }, "/volume": { volume: "both", readonly } }
            })
          const [writer, reader] = yield* Effect.all([launch(false), launch(true)], { concurrency: 2 })
          yield* writer.shell("echo by the writer > /folder/file; echo by the writer > /volume/file", { check: true })
          const read = yield* reader.shell("cat /folder/file /volume/file")
          assert.strictEqual(read.stdout, "by the writer\nby the writer\n")
          const refused = yield* reader.shell("touch /folder/x; touch /volume/x; ls /folder /volume | grep -c x")
          assert.strictEqual(refused.stdout, "0\n", refused.stderr)

          yield* fs.writeFileString(path.join(folder, "from-host"), "by the host\n")
          assert.strictEqual((yield* reader.shell("cat /folder/from-host")).stdout, "by the host\n")
          assert.strictEqual(yield* fs.readFileString(path.join(folder, "file")), "by the writer\n")
          const files = yield* Volume.files("both")
          yield* files.writeFileString("deep/er", "by the host\n")
          assert.strictEqual((yield* reader.shell("cat /volume/deep/er")).stdout, "by the host\n")
          yield* writer.shell("ln -s /etc/passwd /volume/link", { check: true })
          assert.deepStrictEqual(yield* files.readDirectory("/"), ["deep", "file", "link"])
          // The runtime stores a guest's link as a file that contains its target.
          assert.strictEqual(new TextDecoder().decode(yield* files.readFile("link")), "/etc/passwd")
          assert.isAbove((yield* Volume.usage("both")).used, 0)
          const volume = yield* Volume.get("both")
          assert.deepInclude(volume, {
            name: "both",
            kind: "directory",
            quota: 64 * 1024 * 1024,
            labels: { for: "tests" }
          })
          const inUse = yield* Effect.flip(Volume.remove("both"))
          assert.deepInclude(inUse.reason, { _tag: "InUse", resource: "volume", name: "both" })
          if (inUse.reason._tag === "InUse") assert.include([writer.name, reader.name], inUse.reason.usedBy[0])
        }).pipe(Effect.scoped, Effect.andThen(Volume.remove("both")))
      )
    }
  )

  it.effect("reject sources and options that cannot be booted", () =>
    Effect.gen(function* () {
      const reasonOf = (options: Sandbox.LaunchOptions) =>
        Effect.map(Effect.flip(Effect.scoped(Sandbox.launch(options))), ({ reason }) => reason)
      assert.deepInclude(yield* reasonOf({ snapshot: "no-such-snapshot" }), {
        _tag: "NotFound",
        resource: "snapshot",
        name: "no-such-snapshot"
      })
      assert.deepInclude(yield* reasonOf({ image: Support.image, mounts: { "/x": "/no/such/folder" } }), {
        _tag: "InvalidConfig",
        field: "mounts./x"
      })
      assert.deepInclude(yield* reasonOf({ image: "lightbox.test/no-such-image:1", pullPolicy: "never" }), {
        _tag: "ImageUnavailable",
        reference: "lightbox.test/no-such-image:1"
      })
      assert.deepInclude(yield* reasonOf({ image: Support.image, cwd: "/no/such/folder" }), {
        _tag: "InvalidConfig",
        field: "cwd"
      })
      yield* Support.assertNothingLeft()
    })
  )

  it.effect("are reachable through their published ports, with any network options", () =>
    Effect.gen(function* () {
      const port = yield* freePort
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.launch({
            image: Support.image,
            ports: { [port]: 8080 },
            network: { policy: "public", maxConnections: 100 }
          })
          yield* sandbox.shell("mkdir /www && echo served > /www/index.html", { check: true })
          yield* sandbox.spawn("httpd", ["-f", "-p", "8080", "-h", "/www"])
          const page = Effect.tryPromise(async () => (await fetch(`http://127.0.0.1:${port}/`)).text())
          assert.strictEqual(yield* Effect.retry(page, { schedule: Schedule.spaced("100 millis") }), "served\n")
        })
      )
      yield* Support.assertNothingLeft()
    })
  )

  it.effect("replace a sandbox with the same name if told to", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const first = yield* Sandbox.launch({ name: "taken", image: Support.image })
          const second = yield* Sandbox.launch({ name: "taken", image: Support.image, overwrite: true })
          assert.notStrictEqual(first.id, second.id)
          assert.strictEqual((yield* Effect.flip(first.exec("true"))).reason._tag, "GuestLost")
          assert.strictEqual((yield* Effect.flip(first.stop())).reason._tag, "Replaced")
          assert.strictEqual((yield* second.exec("true")).exitCode, 0)
        })
      )
      yield* Support.assertNothingLeft()
    })
  )

  it.effect("keep running when detached, for another process to connect to and remove", () =>
    Effect.gen(function* () {
      yield* Sandbox.run({ name: "detached", image: Support.image }, (sandbox) =>
        Effect.andThen(sandbox.writeFileString("/root/note", "from the first process\n"), sandbox.detach)
      )
      assert.strictEqual((yield* Sandbox.get("detached")).status, "running")
      assert.deepStrictEqual(yield* Support.outcome(Support.program("visit", "detached")), {
        stdout: "from the first process\n",
        exitCode: 0
      })
      yield* Support.assertNothingLeft()
    })
  )

  it.effect("end when the process that launched them is killed", () =>
    Effect.gen(function* () {
      const holder = yield* Support.program("hold", "held", Support.image)
      yield* Stream.runHead(holder.stdout)
      assert.strictEqual((yield* Sandbox.get("held")).status, "running")
      yield* holder.kill({ killSignal: "SIGKILL" })
      yield* Sandbox.get("held").pipe(
        Effect.repeat({ until: ({ status }) => status !== "running", schedule: Schedule.spaced("100 millis") })
      )
      yield* Sandbox.remove("held")
      const [ended] = yield* SandboxRecord.list({ name: "held" })
      assert.deepInclude(ended, { cause: "removed", role: "scoped", image: Support.image })
      assert.notStrictEqual(ended?.status, "running")
      assert.match((yield* SandboxRecord.get(ended?.id ?? "")).system.join("\n"), /held/)
      yield* Support.assertNothingLeft()
    }).pipe(Effect.scoped)
  )

  it.effect("leave nothing of a launch interrupted at its start, in the boot or in the release", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const home = yield* Support.Home
      const observer = yield* Support.Observer
      const launched = Sandbox.run({ name: "interrupted", image: Support.image }, () => Effect.void)

      yield* Support.interruptAt(launched, observer.next("boot"))
      yield* Support.assertNothingLeft()

      // The kernel's log is there as soon as the virtual machine runs.
      const log = path.join(home.path, "sandboxes/interrupted/logs/kernel.log")
      const boots = fs.stat(log).pipe(Effect.retry(Schedule.spaced("20 millis")), Effect.asVoid)
      yield* Support.interruptAt(launched, boots)
      yield* Support.assertNothingLeft()

      yield* Support.interruptAt(launched, observer.next("remove"))
      yield* Support.assertNothingLeft()
    })
  )

  it.effect("compose a program of several snapshots, sandboxes and volumes from layers", () =>
    Effect.gen(function* () {
      const base = Snapshot.make("layered", Support.image).pipe(Snapshot.shell("echo layered > /etc/name"))
      class Base extends Snapshot.Service<Base>()("test/Base", base) {}
      class Notes extends Volume.Service<Notes>()("test/Notes", "notes") {}
      class First extends Sandbox.Service<First>()("test/First", {
        snapshot: Base,
        mounts: { "/notes": { volume: "notes" } }
      }) {}
      class Second extends Sandbox.Service<Second>()("test/Second", {
        snapshot: Base,
        mounts: { "/notes": { volume: "notes" } }
      }) {}
      const observer = yield* Support.Observer
      const before = observer.count("boot")

      const program = Effect.gen(function* () {
        const [first, second] = [yield* First, yield* Second]
        const notes = yield* Notes
        yield* first.shell("cat /etc/name > /notes/note", { check: true })
        const read = yield* second.shell("cat /notes/note", { check: true })
        assert.deepStrictEqual([read.stdout, notes.name], ["layered\n", "notes"])
        assert.deepStrictEqual(
          (yield* Sandbox.list()).map(({ name }) => name).toSorted(),
          [first.name, second.name].toSorted()
        )
      })
      // The snapshot of both sandboxes is built once.
      const live = Layer.mergeAll(First.layer, Second.layer).pipe(
        Layer.provide(Base.layer),
        Layer.provideMerge(Notes.layer)
      )
      yield* Effect.provide(program, live)
      assert.strictEqual(observer.count("boot") - before, 3)
      yield* Support.assertNothingLeft({ snapshots: ["layered"] })

      const single = Sandbox.layer({ snapshot: Snapshot.Current }).pipe(Layer.provide(Snapshot.layer(base)))
      const name = yield* Sandbox.Sandbox.use((sandbox) => sandbox.readFileString("/etc/name")).pipe(
        Effect.provide(single)
      )
      assert.strictEqual(name, "layered\n")
      yield* Snapshot.remove("layered")
      yield* Volume.remove("notes")
      yield* Support.assertNothingLeft({ snapshots: [] })
    })
  )

  it.effect("mount a disk one after the other, and never at once", () =>
    Effect.gen(function* () {
      yield* Volume.ensure("disk", { kind: "disk", quota: "256M" })
      const mounts = { "/disk": { volume: "disk" } }
      const options = { image: Support.image, mounts }
      const counted = Sandbox.run(options, (sandbox) =>
        Effect.gen(function* () {
          const second = yield* Effect.flip(Sandbox.run(options, () => Effect.void))
          assert.deepInclude(second.reason, { _tag: "InUse", resource: "volume", name: "disk" })
          const { stdout } = yield* sandbox.shell("echo once >> /disk/runs; wc -l < /disk/runs", { check: true })
          return Number(stdout)
        })
      )
      assert.deepStrictEqual([yield* counted, yield* counted], [1, 2])
      // Taken over with the name, and by the same sandbox once more when it has ended by itself.
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Sandbox.launch({ ...options, name: "with-disk" })
          const second = yield* Sandbox.launch({ ...options, name: "with-disk", overwrite: true })
          const { name } = second
          yield* Effect.forkChild(Effect.ignore(second.exec("reboot", ["-f"])))
          yield* second.guest.lost
          yield* Sandbox.waitFor(name, "stopped")
          const again = yield* Sandbox.start(name)
          assert.strictEqual((yield* again.shell("wc -l < /disk/runs", { check: true })).stdout.trim(), "2")
        })
      )
      yield* Volume.remove("disk")
      yield* Support.assertNothingLeft()
    })
  )
})

/** Real microVMs at the limits of a disk, a volume and their mounts. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as Fs from "node:fs"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import { readVersion, unverified } from "../crash/work.ts"
import { run } from "../host/Subprocess.ts"
import * as Support from "../microvm/support.ts"

const { image } = Support

// =============================================================================
// A small disk
// =============================================================================

const mebibyte = 1024 * 1024

/** What the disk has beside the images of the home, in MiB. */
const room = 160

/** A file system for the life of the scope, in a file: a guest's files need one that keeps attributes. */
const mountSmall = Effect.fnUntraced(function* (folder: string, size: number) {
  const fs = yield* FileSystem.FileSystem
  const disk = `${folder}/disk`
  const mounted = `${folder}/d`
  yield* fs.makeDirectory(mounted)
  yield* run("truncate", ["-s", `${size}M`, disk])
  yield* run("mkfs.ext4", ["-q", "-F", "-m", "0", disk])
  yield* Effect.acquireRelease(run("mount", ["-o", "loop", disk, mounted]), () =>
    Effect.orDie(run("umount", ["--lazy", mounted]))
  )
  return mounted
})

/** A home on a small disk. */
const smallHome = Layer.effect(
  Support.Home,
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped({ prefix: "l" })
    const template = yield* Config.String("MSB_HOME")
    const used = Number.parseInt(yield* run("du", ["-sm", template]), 10)
    const path = `${yield* mountSmall(folder, used + room)}/msb`
    yield* run("cp", ["-a", template, path])
    const files = `${folder}/files`
    yield* fs.makeDirectory(files)
    return { path, files }
  })
)

const driver = Layer.unwrap(
  Effect.map(Support.Home, ({ path }) =>
    // There is less room than the budget asks for by default.
    MicrosandboxLocal.layer({ home: path, memory: "256M", bootTimeout: "100 seconds", budget: { disk: 0 } })
  )
)

const live = driver.pipe(Layer.provideMerge(smallHome), Layer.provideMerge(NodeServices.layer))

/** The file that fills the disk, beside the home. */
const filler = (home: string): string => `${home}/../filler`

/** Takes all of the disk but so many MiB. */
const fill = (leave: number) =>
  Effect.map(Support.Home, ({ path }) => {
    const { bavail, bsize } = Fs.statfsSync(path)
    const zeros = new Uint8Array(mebibyte)
    for (let left = Math.floor((bavail * bsize) / mebibyte) - leave; left > 0; left--) {
      Fs.appendFileSync(filler(path), zeros)
    }
  })

const free = Effect.map(Support.Home, ({ path }) => Fs.rmSync(filler(path)))

/** Several virtual machines boot, on processors that they share with others. */
const limit = 900_000

layer(live, { excludeTestServices: true })("at the limits", (it) => {
  it.effect(
    "a full disk fails what needs space, damages nothing, and recovers once there is space",
    () =>
      Effect.gen(function* () {
        const name = "whole"
        const home = yield* Support.Home
        yield* Snapshot.build(unverified(name, image, "old"))

        const fillWhileBuilding = unverified(name, image, "new").pipe(
          // Flushed, or the guest takes the room later that the next step counts.
          Snapshot.shell("head -c 30000000 /dev/urandom > /root/large && sync"),
          Snapshot.step("fill", () => fill(10))
        )
        const onHome = Effect.provideService(Support.Home, home)
        const capture = yield* Effect.flip(Snapshot.build(fillWhileBuilding, { checkpoints: "final" })).pipe(onHome)
        assert.strictEqual(capture.reason._tag, "NoSpace", capture.message)
        yield* Support.assertNothingLeft({ snapshots: [name] })

        yield* fill(0)
        const launch = yield* Effect.flip(Sandbox.run({ snapshot: name }, () => Effect.void))
        assert.strictEqual(launch.reason._tag, "NoSpace", launch.message)
        const build = yield* Effect.flip(Snapshot.build(unverified(name, image, "other")))
        assert.strictEqual(build.reason._tag, "NoSpace", build.message)
        yield* Support.assertNothingLeft({ snapshots: [name] })

        yield* free
        const driver = yield* Microsandbox.Microsandbox
        for (const snapshot of yield* driver.listSnapshots()) yield* driver.verifySnapshot(snapshot.name)
        assert.strictEqual(yield* readVersion(name), "old\nold")
        yield* Snapshot.build(unverified(name, image, "new"))
        yield* Support.assertNothingLeft({ snapshots: [name] })
      }),
    limit
  )

  it.effect("a guest cannot exceed a volume's quota or change a read-only mount", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const { files } = yield* Support.Home
      const folder = (name: string) => path.join(files, name)
      for (const name of ["outside", "readonly", "shared"]) {
        yield* fs.makeDirectory(folder(name))
        yield* fs.writeFileString(path.join(folder(name), "file"), name)
      }
      yield* Volume.ensure("limited", { quota: "8M" })
      const mounts = {
        "/limited": { volume: "limited" },
        "/readonly": { bind: folder("readonly"), readonly: true },
        "/shared": { bind: folder("shared") }
      }
      yield* Sandbox.run({ image, mounts }, (sandbox) =>
        Effect.gen(function* () {
          const mounted = yield* sandbox.shell("cat /readonly/file /shared/file", { check: true })
          assert.strictEqual(mounted.stdout, "readonlyshared")
          yield* sandbox.shell("echo kept > /limited/kept", { check: true })
          const full = yield* sandbox.shell("dd if=/dev/zero of=/limited/large bs=1M count=20")
          assert.notStrictEqual(full.exitCode, 0)
          assert.include(full.stderr, "No space left on device")
          const written = yield* Effect.flip(sandbox.writeFile("/limited/more", new Uint8Array(20 * mebibyte)))
          assert.deepInclude(written.reason, { _tag: "FileError", code: "ENOSPC" })
          assert.strictEqual(yield* sandbox.readFileString("/limited/kept"), "kept\n")
          yield* sandbox.shell("rm -f /limited/large /limited/more; echo again > /limited/again", { check: true })

          const attempts = [
            "echo changed > /readonly/file",
            "touch /readonly/new",
            "mkdir /readonly/new",
            "rm -f /readonly/file",
            "mv /readonly/file /readonly/moved",
            "chmod 777 /readonly/file",
            "ln -s /etc/passwd /readonly/link",
            "mount -o remount,rw /readonly; echo changed > /readonly/file",
            "umount /readonly; mount -o bind /shared/.. /mnt; echo changed > /mnt/outside/file"
          ]
          for (const attempt of attempts) yield* sandbox.shell(attempt)
          // Links and names that leave a mount stay inside the guest.
          yield* sandbox.shell(
            `ln -s ${folder("outside")}/file /shared/link; echo changed > /shared/link; ` +
              `ln -s ../outside /shared/up; echo changed > /shared/up/file; echo changed > /shared/../outside/file`
          )
        })
      )
      const changed = yield* Effect.filter(["outside", "readonly"], (name) =>
        Effect.map(fs.readFileString(path.join(folder(name), "file")), (content) => content !== name)
      )
      assert.deepStrictEqual(changed, [])
      for (const name of ["outside", "readonly"]) {
        assert.deepStrictEqual(yield* fs.readDirectory(folder(name)), ["file"])
      }
      assert.deepStrictEqual((yield* fs.readDirectory(folder("shared"))).toSorted(), ["file", "link", "up"])
      yield* Volume.remove("limited")
    })
  )
})

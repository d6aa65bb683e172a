/** Root disks on real microVMs: an overlay on a snapshot's disk equals a copy of it. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Hosts from "../../src/internal/host/home.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { reference as debian } from "../images/Debian.ts"
import * as Support from "../microvm/support.ts"

/** All that a file can be, and what can be done to the files of an image. */
const bake = `
import os, shutil
os.makedirs("/made/deep/er"); os.chdir("/made")
open("plain", "w").write("plain")
open("unïcode name\\n", "w").write("name")
open("large", "wb").write(os.urandom(3_000_000))
with open("sparse", "wb") as f: f.truncate(50_000_000); f.seek(20_000_000); f.write(b"island")
os.link("plain", "deep/hard"); os.symlink("../plain", "deep/soft"); os.symlink("/nowhere", "dangling")
os.mkfifo("fifo", 0o620); os.mknod("device", 0o600 | 0o020000, os.makedev(1, 3))
os.chown("plain", 1234, 5678); os.chmod("plain", 0o4755); os.chmod("deep", 0o2770); os.chmod("deep/er", 0o1777)
os.setxattr("large", "user.note", b"kept\\0as it is"); os.setxattr("deep", "trusted.note", b"by root")
os.setxattr("large", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
os.utime("large", (1, 1_000_000_001)); os.utime("dangling", (2, 3), follow_symlinks=False)
os.remove("/etc/debian_version"); shutil.rmtree("/usr/share/perl5")
shutil.move("/etc/skel", "/etc/moved"); os.mkdir("/etc/skel"); open("/etc/skel/new", "w").write("new")
os.remove("/etc/issue"); os.mkdir("/etc/issue"); open("/etc/profile", "a").write("# appended")
`

/** Describes every path, except what belongs to a boot, and folders with tens of thousands of files that nobody changes. */
const describe = `
import hashlib, os
skipped = {"/usr/share/nodejs", "/usr/include", "/usr/lib/python3", "/proc", "/sys", "/dev", "/run", "/tmp", "/.msb", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
lines, first = [], {}
def look(path):
    s = os.lstat(path)
    link = os.readlink(path) if os.path.islink(path) else ""
    content = ""
    if os.path.isfile(path) and not link and (path.startswith(("/made", "/etc"))):
        content = hashlib.sha256(open(path, "rb").read()).hexdigest()
    same = first.setdefault((s.st_dev, s.st_ino), path) if s.st_nlink > 1 and not os.path.isdir(path) else ""
    attributes = sorted((n, os.getxattr(path, n, follow_symlinks=False)) for n in os.listxattr(path, follow_symlinks=False))
    size = 0 if os.path.isdir(path) else s.st_size
    times = s.st_mtime_ns
    lines.append(repr((path, oct(s.st_mode), s.st_uid, s.st_gid, size, s.st_nlink, s.st_rdev, times, link, same, attributes, content)))
def walk(folder):
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if path in skipped: continue
        look(path)
        if os.path.isdir(path) and not os.path.islink(path): walk(path)
walk("/")
print("\\n".join(lines))
`

const limit = 900_000

layer(Support.layer, { excludeTestServices: true })("a root disk", (it) => {
  it.effect(
    "is the same as overlay and as copy, and an overlay stores only what changed",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const home = yield* Support.Home
        const baked = Snapshot.make("everything", debian).pipe(
          Snapshot.resources({ memory: "512M" }),
          Snapshot.exec("python3", ["-c", bake])
        )
        yield* Snapshot.build(baked)
        const launch = (rootDisk: "copy" | "overlay") =>
          Sandbox.launch({ snapshot: "everything", rootDisk, resources: { memory: "512M" } })
        const described = (sandbox: Sandbox.Sandbox) =>
          Effect.map(sandbox.exec("python3", ["-c", describe], { check: true }), ({ stdout }) => stdout.split("\n"))

        const [copied, overlaid] = yield* Effect.all([
          Effect.scoped(Effect.flatMap(launch("copy"), described)),
          Effect.scoped(Effect.flatMap(launch("overlay"), described))
        ])
        assert.isAbove(overlaid.length, 2_000)
        assert.deepStrictEqual(
          overlaid.filter((line) => !copied.includes(line)),
          []
        )
        assert.strictEqual(overlaid.length, copied.length)
        for (const part of [
          "user.note",
          "trusted.note",
          "security.capability",
          "'0o104755', 1234, 5678",
          "/made/fifo"
        ]) {
          assert.include(overlaid.join("\n"), part)
        }

        // Two at a time, each with its own changes, on a snapshot that is removed.
        yield* Effect.scoped(
          Effect.gen(function* () {
            const sandboxes = yield* Effect.all([launch("overlay"), launch("overlay")])
            yield* Snapshot.remove("everything")
            const sums: Array<string> = []
            for (const [index, sandbox] of sandboxes.entries()) {
              const script =
                "head -c 20000000 /dev/urandom > /made/large; sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum /made/large"
              const { stdout } = yield* sandbox.shell(`echo ${index} > /made/plain; ${script}`, { check: true })
              sums.push(stdout)
            }
            const disks = yield* fs.readDirectory(path.join(home.path, "lightbox", "disks"))
            assert.strictEqual(disks.length, 2)
            const [first] = sandboxes
            const again = yield* Sandbox.restart(first.name)
            const kept = yield* again.shell("cat /made/plain; sha256sum /made/large; ls /etc/debian_version")
            assert.strictEqual(kept.stdout, `0\n${sums[0]}`)
            assert.notStrictEqual(sums[0], sums[1])
            // In a folder of its own: the link to what is below, and what differs.
            const room = yield* Effect.forEach(disks, (name) =>
              Effect.map(
                fs.stat(path.join(home.path, "lightbox", "disks", name, "disk.qcow2")),
                ({ blocks }) => Number(blocks._tag === "Some" ? blocks.value : 0) * 512
              )
            )
            for (const bytes of room) assert.isBelow(bytes, 40_000_000)
          })
        )
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    limit
  )

  it.effect("is an overlay by default where a copy is expensive, but not for an ephemeral sandbox", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const home = yield* Support.Home
      const folder = path.join(home.path, "lightbox", "disks")
      const overlays = Effect.map(
        Effect.orElseSucceed(fs.readDirectory(folder), (): Array<string> => []),
        ({ length }) => length
      )
      yield* Snapshot.build(Snapshot.make("small", Support.image).pipe(Snapshot.shell("echo small > /root/small")))
      const look = (ephemeral: boolean) =>
        Sandbox.run({ snapshot: "small", ephemeral }, (sandbox) =>
          Effect.andThen(sandbox.shell("cat /root/small", { check: true }), overlays)
        )
      const kind = yield* Effect.promise(() => Hosts.probeCopies(path.join(home.files, "probe")))
      assert.strictEqual(yield* look(false), kind === "full" ? 1 : 0)
      assert.strictEqual(yield* look(true), 0)
      yield* Snapshot.remove("small")
      yield* Support.assertNothingLeft({ snapshots: [] })
    })
  )

  it.effect("cannot be an overlay on an image or a missing snapshot", () =>
    Effect.gen(function* () {
      const run = (options: Sandbox.LaunchOptions) => Effect.flip(Sandbox.run(options, () => Effect.void))
      const image = yield* run({ image: Support.image, rootDisk: "overlay" })
      assert.deepInclude(image.reason, { _tag: "InvalidConfig", field: "rootDisk" })
      const missing = yield* run({ snapshot: "nothing", rootDisk: "overlay" })
      assert.deepInclude(missing.reason, { _tag: "NotFound", resource: "snapshot" })
      yield* Support.assertNothingLeft({ snapshots: [] })
    })
  )
})

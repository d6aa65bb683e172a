/**
 * Files: how they are written, read, listed, linked, changed and refused.
 */
import { assert } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type * as Guest from "../../src/Guest.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

const mebibyte = 1024 * 1024

const nameOf = ({ path }: { readonly path: string }): string => path.slice(path.lastIndexOf("/") + 1)

export const files: Group<Bench.Shared> = (test) => {
  // ---------------------------------------------------------------------------
  // Content
  // ---------------------------------------------------------------------------

  test("reads back what was written, even nothing", function* () {
    const { sandbox } = yield* Bench.Shared
    for (const size of [0, 1, 4 * mebibyte, 4 * mebibyte + 1]) {
      const bytes = Crypto.randomBytes(size)
      yield* sandbox.writeFile("/root/file", bytes)
      assert.isTrue(bytes.equals(yield* sandbox.readFile("/root/file")))
    }
  })

  test("replaces a file or appends to it", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.writeFileString("/root/replaced", "a longer text")
    yield* sandbox.writeFileString("/root/replaced", "short", { mode: 0o600 })
    yield* sandbox.writeFileString("/root/replaced", "er", { flag: "a" })
    assert.strictEqual(yield* sandbox.readFileString("/root/replaced"), "shorter")
    assert.strictEqual((yield* sandbox.stat("/root/replaced")).mode, 0o600)
  })

  test("reads parts of a file", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.writeFileString("/root/parts", "0123456789")
    const part = (range: Guest.ReadRange) => Stream.mkString(Stream.decodeText(sandbox.stream("/root/parts", range)))
    assert.strictEqual(yield* part({ offset: 7 }), "789")
    assert.strictEqual(yield* part({ bytesToRead: 3 }), "012")
    assert.strictEqual(yield* part({ offset: 3, bytesToRead: 4 }), "3456")
    assert.strictEqual(yield* part({ offset: 8, bytesToRead: 100 }), "89")
    assert.strictEqual(yield* part({ offset: 100 }), "")
    assert.strictEqual(yield* part({ bytesToRead: 0 }), "")
  })

  test("reads, writes and truncates an open file, even after its name is removed", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.writeFileString("/root/open", "0123456789")
    yield* Effect.scoped(
      Effect.gen(function* () {
        const file = yield* sandbox.guest.open("/root/open", { read: true, write: true })
        yield* Stream.run(Stream.make(Bench.encode("ab"), Bench.encode("cd")), file.sink(4))
        assert.strictEqual(yield* Stream.mkString(Stream.decodeText(file.stream())), "0123abcd89")
        yield* file.setAttributes({ size: 6 })
        assert.strictEqual((yield* file.stat).size, 6)
        // It stays open after its name is removed.
        yield* sandbox.remove("/root/open")
        assert.strictEqual(yield* Stream.mkString(Stream.decodeText(file.stream())), "0123ab")
      })
    )
  })

  test("reads kernel files that report no size", function* () {
    const { sandbox } = yield* Bench.Shared
    assert.include(yield* sandbox.readFileString("/proc/1/cmdline"), "init")
    assert.strictEqual((yield* sandbox.readFileString("/proc/sys/kernel/ostype")).trim(), "Linux")
  })

  // ---------------------------------------------------------------------------
  // Names
  // ---------------------------------------------------------------------------

  test("handles unusual names", function* () {
    const { sandbox } = yield* Bench.Shared
    const names = ["größe 文件 🚀", "with\nline", " ", "-rf", "*", "$HOME", "x".repeat(255)]
    yield* sandbox.makeDirectory("/root/names")
    for (const name of names) yield* sandbox.writeFileString(`/root/names/${name}`, name)
    assert.deepStrictEqual(
      (yield* sandbox.readDirectoryEntries("/root/names")).map(nameOf).toSorted(),
      names.toSorted()
    )
    for (const name of names) assert.strictEqual(yield* sandbox.readFileString(`/root/names/${name}`), name)
    yield* Bench.failsWithCode("ENAMETOOLONG", sandbox.writeFileString(`/root/names/${"x".repeat(256)}`, ""))
  })

  test("lists and removes a folder of a thousand files", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.shell("mkdir /root/many; cd /root/many; i=0; while [ $i -lt 1000 ]; do : > $i; i=$((i+1)); done")
    const names = (yield* sandbox.readDirectoryEntries("/root/many")).map(nameOf)
    assert.deepStrictEqual(
      names.map(Number).toSorted((a, b) => a - b),
      Array.from({ length: 1000 }, (_, index) => index)
    )
    yield* sandbox.remove("/root/many", { recursive: true })
    assert.isFalse(yield* sandbox.exists("/root/many"))
  })

  // ---------------------------------------------------------------------------
  // Kinds and attributes
  // ---------------------------------------------------------------------------

  test("reports the types of files", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.shell("mkdir /root/kinds; cd /root/kinds; : > file; mkdir folder; ln -s file link")
    const kinds = (yield* sandbox.readDirectoryEntries("/root/kinds")).map((info) => [nameOf(info), info.type])
    assert.deepStrictEqual(
      kinds.toSorted(([a], [b]) => (a ?? "").localeCompare(b ?? "")),
      [
        ["file", "File"],
        ["folder", "Directory"],
        ["link", "SymbolicLink"]
      ]
    )
    assert.strictEqual((yield* sandbox.stat("/dev/null")).type, "CharacterDevice")
  })

  test("sets attributes", function* () {
    const { sandbox } = yield* Bench.Shared
    const { guest } = sandbox
    const mtime = DateTime.makeUnsafe(1_100_000_000_000)
    yield* sandbox.writeFileString("/root/attributes", "0123456789")
    yield* guest.setAttributes("/root/attributes", {
      mode: 0o4750,
      uid: 1000,
      gid: 7,
      size: 4,
      atime: DateTime.makeUnsafe(1_000_000_000_000),
      mtime
    })
    const info = yield* sandbox.stat("/root/attributes")
    // A change of owner drops the setuid bit.
    assert.deepInclude(info, { gid: 7, mode: 0o750, mtime, size: 4, uid: 1000 })
    assert.strictEqual(yield* sandbox.readFileString("/root/attributes"), "0123")
    yield* guest.setAttributes("/root/attributes", { mode: 0o4755, size: 6 })
    assert.strictEqual((yield* sandbox.stat("/root/attributes")).mode, 0o4755)
    assert.strictEqual(yield* sandbox.readFileString("/root/attributes"), "0123\0\0")
  })

  test("creates, follows and removes symbolic links", function* () {
    const { sandbox } = yield* Bench.Shared
    const { guest } = sandbox
    yield* sandbox.makeDirectory("/root/links/folder")
    yield* sandbox.writeFileString("/root/links/folder/file", "through a link")
    yield* guest.symlink("folder", "/root/links/relative")
    yield* guest.symlink("/root/nowhere", "/root/links/dangling")
    yield* guest.symlink("circle", "/root/links/circle")
    assert.strictEqual(yield* guest.readLink("/root/links/relative"), "folder")
    assert.strictEqual(yield* guest.realPath("/root/links/relative/../relative/file"), "/root/links/folder/file")
    assert.strictEqual(yield* sandbox.readFileString("/root/links/relative/file"), "through a link")
    assert.strictEqual((yield* sandbox.stat("/root/links/relative")).type, "Directory")
    assert.strictEqual((yield* guest.stat("/root/links/relative", { followSymlinks: false })).type, "SymbolicLink")
    assert.isFalse(yield* sandbox.exists("/root/links/dangling"))
    yield* Bench.failsWithCode("ELOOP", sandbox.readFile("/root/links/circle"))
    yield* Bench.failsWithCode("EINVAL", guest.readLink("/root/links/folder"))
    yield* Bench.failsWithCode("EEXIST", guest.symlink("x", "/root/links/circle"))
    // The link is removed, not its target.
    yield* sandbox.remove("/root/links/relative", { recursive: true })
    assert.isTrue(yield* sandbox.exists("/root/links/folder/file"))
  })

  // ---------------------------------------------------------------------------
  // Folders, moves, copies
  // ---------------------------------------------------------------------------

  test("creates and removes nested folders, more than once", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.makeDirectory("/root/a/b/c")
    yield* sandbox.makeDirectory("/root/a/b/c")
    assert.deepStrictEqual((yield* sandbox.readDirectoryEntries("/root/a/b")).map(nameOf), ["c"])
    yield* Bench.failsWithCode("ENOTEMPTY", sandbox.remove("/root/a"))
    yield* sandbox.remove("/root/a", { recursive: true })
    yield* sandbox.remove("/root/a", { recursive: true })
    assert.isFalse(yield* sandbox.exists("/root/a"))
  })

  test("replaces the target of a rename", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.writeFileString("/root/from", "moved")
    yield* sandbox.writeFileString("/root/to", "replaced")
    yield* sandbox.rename("/root/from", "/root/to")
    assert.strictEqual(yield* sandbox.readFileString("/root/to"), "moved")
    assert.isFalse(yield* sandbox.exists("/root/from"))
    yield* Bench.failsWithCode("ENOENT", sandbox.rename("/root/from", "/root/to"))
    yield* Bench.failsWithCode("EXDEV", sandbox.rename("/root/to", "/tmp/to"))
    // Where the runtime mounts nothing, whatever other systems have there.
    yield* sandbox.rename("/root/to", "/run/to")
    assert.strictEqual(yield* sandbox.readFileString("/run/to"), "moved")
  })

  test("copies the content and permissions of a file", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.writeFileString("/root/original", "copied", { mode: 0o755 })
    yield* sandbox.copyFile("/root/original", "/root/copy")
    assert.strictEqual(yield* sandbox.readFileString("/root/copy"), "copied")
    assert.strictEqual((yield* sandbox.stat("/root/copy")).mode, 0o755)
    yield* Bench.failsWithCode("ENOENT", sandbox.copyFile("/root/none", "/root/copy"))
  })

  test("keeps the links, owners and modes of existing folders when copying in", function* () {
    const { sandbox } = yield* Bench.Shared
    const from = yield* Bench.hostFolder()
    const names = ["bin", "app", `long${"-name".repeat(40)}`]
    for (const name of names) {
      Fs.mkdirSync(Path.join(from, name), { mode: 0o700 })
      Fs.writeFileSync(Path.join(from, name, "file"), name)
    }
    Fs.utimesSync(Path.join(from, "app", "file"), 0, new Date("1960-01-01"))
    const script = "mkdir -p usr/bin app && ln -s usr/bin bin && chown 7:8 app && chmod 1777 app"
    yield* sandbox.shell(`mkdir /root/there && cd /root/there && ${script}`, { check: true })
    yield* sandbox.copyIn(from, "/root/there", { owner: { uid: 1_000_680_000, gid: 9 } })
    assert.strictEqual(yield* sandbox.readLink("/root/there/bin"), "usr/bin")
    assert.strictEqual(yield* sandbox.readFileString("/root/there/usr/bin/file"), "bin")
    assert.deepInclude(yield* sandbox.stat("/root/there/app"), { uid: 7, gid: 8, mode: 0o1777 })
    assert.deepInclude(yield* sandbox.stat(`/root/there/${names[2]}/file`), { uid: 1_000_680_000, gid: 9 })
    yield* Bench.failsWithCode("EISDIR", sandbox.copyIn(Path.join(from, "app", "file"), "/root/there/app"))
  })

  test("copies a host folder in and out again", function* () {
    const { sandbox } = yield* Bench.Shared
    const from = yield* Bench.hostFolder({ plain: "text", größe: "unicode", empty: "" })
    Fs.mkdirSync(Path.join(from, "inner"))
    Fs.writeFileSync(Path.join(from, "inner", "program"), "#!/bin/sh\n", { mode: 0o755 })
    const to = yield* Bench.hostFolder()
    yield* sandbox.copyIn(from, "/root/tree/in")
    assert.strictEqual(yield* sandbox.readFileString("/root/tree/in/größe"), "unicode")
    yield* sandbox.copyOut("/root/tree/in", to)
    const entries = Fs.readdirSync(from, { recursive: true, encoding: "utf8" }).toSorted()
    assert.deepStrictEqual(Fs.readdirSync(to, { recursive: true, encoding: "utf8" }).toSorted(), entries)
    assert.strictEqual(Fs.statSync(Path.join(to, "inner", "program")).mode & 0o777, 0o755)
    assert.strictEqual(Fs.readFileSync(Path.join(to, "plain"), "utf8"), "text")
  })

  test("refuses to copy a pipe out", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.shell("mkdir -p /root/pipes && mkfifo /root/pipes/p", { check: true })
    yield* Bench.failsWithCode("EINVAL", sandbox.copyOut("/root/pipes", yield* Bench.hostFolder()))
  })

  // ---------------------------------------------------------------------------
  // Refusals
  // ---------------------------------------------------------------------------

  test("fails with the errno for missing files and files of another type", function* () {
    const { sandbox } = yield* Bench.Shared
    const { guest } = sandbox
    yield* sandbox.writeFileString("/root/plain", "text")
    const missing = yield* Bench.failsWithCode("ENOENT", sandbox.readFile("/root/none"))
    assert.strictEqual(missing.path, "/root/none")
    yield* Bench.failsWithCode("ENOENT", sandbox.writeFileString("/root/none/file", ""))
    yield* Bench.failsWithCode("ENOENT", sandbox.stat("/root/none"))
    yield* Bench.failsWithCode("ENOENT", sandbox.readDirectoryEntries("/root/none"))
    yield* Bench.failsWithCode("ENOTDIR", sandbox.readFile("/root/plain/file"))
    yield* Bench.failsWithCode("ENOTDIR", sandbox.readDirectoryEntries("/root/plain"))
    yield* Bench.failsWithCode("EISDIR", sandbox.readFile("/root"))
    yield* Bench.failsWithCode("EISDIR", sandbox.writeFileString("/root", ""))
    yield* Bench.failsWithCode("EISDIR", guest.removeFile("/root"))
    yield* Bench.failsWithCode("ENOTDIR", guest.removeDirectory("/root/plain"))
    yield* Bench.failsWithCode("EEXIST", Effect.scoped(guest.open("/root/plain", { write: true, createNew: true })))
    assert.isFalse(yield* sandbox.exists("/root/none"))
  })

  test("reports a full file system", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* Bench.failsWithCode("ENOSPC", sandbox.writeFile("/small/file", new Uint8Array(3 * mebibyte)))
    for (const [command, complaint] of [
      ["cat /dev/zero > /small/other", "cat: write error: No space left on device"],
      ["head -c 3000000 /dev/zero > /small/other", "head: standard output: I/O error"]
    ] as const) {
      const { exitCode, stderr } = yield* sandbox.shell(command)
      assert.deepStrictEqual([exitCode, stderr], [1, `${complaint}\n`])
      yield* sandbox.shell("rm /small/*")
    }
    yield* sandbox.writeFile("/small/file", new Uint8Array(mebibyte / 2))
  })

  test("shares a host folder, writable or read-only", function* () {
    const { files } = yield* Bench.Bench
    const { sandbox } = yield* Bench.Shared
    Fs.writeFileSync(Path.join(files, "from-host"), "from the host")
    assert.strictEqual(yield* sandbox.readFileString("/host/from-host"), "from the host")
    yield* sandbox.writeFileString("/host/from-guest", "from the guest")
    assert.strictEqual(Fs.readFileSync(Path.join(files, "from-guest"), "utf8"), "from the guest")
    assert.strictEqual(yield* sandbox.readFileString("/readonly/from-guest"), "from the guest")
    yield* Bench.failsWithCode("EROFS", sandbox.writeFileString("/readonly/file", ""))
    yield* Bench.failsWithCode("EROFS", sandbox.remove("/readonly/from-guest"))
  })
}

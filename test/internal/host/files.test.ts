import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Tar from "modern-tar"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import FsPromises from "node:fs/promises"
import { syncBuiltinESMExports } from "node:module"
import * as Path from "node:path"
import { vi } from "vitest"
import * as HostFiles from "../../../src/internal/host/files.ts"
import * as Folders from "../../../src/internal/host/folders.ts"
import * as Listing from "../../../src/internal/host/listing.ts"
import { tarVariables } from "../../../src/internal/guest/copy.ts"
import { isLightboxError } from "../../../src/LightboxError.ts"

const makeFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "files"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
)

/** Text is a file, an object a folder, an array the target of a link. */
interface Tree {
  readonly [name: string]: string | readonly [target: string] | Tree
}

const write = (folder: string, tree: Tree): void => {
  for (const [name, node] of Object.entries(tree)) {
    const path = Path.join(folder, name)
    if (typeof node === "string") Fs.writeFileSync(path, node)
    else if (isLink(node)) Fs.symlinkSync(node[0], path)
    else {
      Fs.mkdirSync(path)
      write(path, node)
    }
  }
}

const isLink = (node: readonly [target: string] | Tree): node is readonly [target: string] => Array.isArray(node)

const makeTree = (tree: Tree) => Effect.tap(makeFolder, (folder) => Effect.sync(() => write(folder, tree)))

const list = (folder: string, ignore: ReadonlyArray<string> = []) =>
  Effect.map(Listing.list("Snapshot.build", folder, ignore), ({ files }) => files)

const paths = (files: ReadonlyArray<HostFiles.HostFile>): ReadonlyArray<string> => files.map(({ path }) => path)

const pack = (
  folder: string,
  files: ReadonlyArray<HostFiles.HostFile>,
  options: { readonly name?: string; readonly mode?: number; readonly owner?: { uid: number; gid: number } } = {}
) =>
  HostFiles.pack("Snapshot.build", folder, files, ({ kind, mode, path }) => ({
    name: path === "" ? (options.name ?? "name") : path,
    mode: HostFiles.modeOf(mode, kind === "folder", options.mode),
    ...(options.owner ?? { uid: 0, gid: 0 })
  }))

const entriesOf = Effect.fnUntraced(function* <E>(archive: Stream.Stream<Uint8Array, E>) {
  const bytes = yield* Stream.mkUint8Array(archive)
  return yield* Effect.promise(() => Tar.unpackTar(bytes))
})

const describeError = Effect.fnUntraced(function* (effect: Effect.Effect<unknown, unknown>) {
  const error = yield* Effect.flip(effect)
  if (!isLightboxError(error) || error.reason._tag !== "FileError") return assert.fail(String(error))
  return error.reason
})

/** Everything that copying keeps, read back from a folder. */
const seen = (folder: string): ReadonlyArray<string> =>
  Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    .toSorted()
    .map((name) => {
      const path = Path.join(folder, name)
      const stats = Fs.lstatSync(path)
      const mode = (stats.mode & 0o7777).toString(8)
      if (stats.isSymbolicLink()) return `${name} -> ${Fs.readlinkSync(path)}`
      return stats.isDirectory() ? `${name}/ ${mode}` : `${name} ${mode} ${Fs.readFileSync(path, "hex")}`
    })

describe("hostFiles", () => {
  it.effect.each([
    { code: "EIO", tag: "FileError" },
    { code: "EDQUOT", tag: "NoSpace" }
  ])("fails with $tag if the end of a file cannot be written: $code", ({ code, tag }) =>
    Effect.gen(function* () {
      const path = Path.join(yield* makeFolder, "file")
      const { open } = FsPromises
      const spy = vi.spyOn(FsPromises, "open").mockImplementation(async (...args) => {
        const file = await open(...args)
        const close = file.close.bind(file)
        file.close = async () => {
          await close()
          throw Object.assign(new Error(code), { code })
        }
        return file
      })
      syncBuiltinESMExports()
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          spy.mockRestore()
          syncBuiltinESMExports()
        })
      )
      const written = HostFiles.write("test", path, Stream.make(new Uint8Array(1)), { mode: 0o600 })
      assert.strictEqual((yield* Effect.flip(written)).reason._tag, tag)
    }).pipe(Effect.scoped)
  )

  it.effect("lists everything by name, with type, size, mode and digest", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({
        b: "two",
        a: { z: "", ".hidden": "h" },
        empty: {},
        link: ["a/z"],
        dead: ["none"]
      })
      Fs.chmodSync(Path.join(folder, "b"), 0o4750)
      const files = yield* list(folder)
      assert.deepStrictEqual(
        files.map(({ kind, path, size }) => [path, kind, size]),
        [
          ["a", "folder", 0],
          ["a/.hidden", "file", 1],
          ["a/z", "file", 0],
          ["b", "file", 3],
          ["dead", "link", 0],
          ["empty", "folder", 0],
          ["link", "link", 0]
        ]
      )
      assert.strictEqual(files.find(({ path }) => path === "b")?.mode, 0o4750)
      assert.strictEqual(
        files.find(({ path }) => path === "b")?.digest,
        "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
      )
    })
  )

  it.effect("detects a changed file, mode or link, but ignores times", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ file: "one", link: ["file"] })
      const identity = Effect.map(list(folder), (files) => JSON.stringify(files))
      const first = yield* identity
      Fs.utimesSync(Path.join(folder, "file"), 1, 1)
      assert.strictEqual(yield* identity, first)
      Fs.writeFileSync(Path.join(folder, "file"), "eno")
      const second = yield* identity
      assert.notStrictEqual(second, first)
      Fs.chmodSync(Path.join(folder, "file"), 0o600)
      const third = yield* identity
      assert.notStrictEqual(third, second)
      Fs.unlinkSync(Path.join(folder, "link"))
      Fs.symlinkSync("elif", Path.join(folder, "link"))
      assert.notStrictEqual(yield* identity, third)
    })
  )

  it.effect("hashes a large file like a small one", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      Fs.writeFileSync(Path.join(folder, "large"), Buffer.alloc(5 * 1024 * 1024, "x"))
      const [file] = yield* list(folder)
      // sha256sum of five million and some x.
      const { stdout } = ChildProcess.spawnSync("sha256sum", [Path.join(folder, "large")], { encoding: "utf8" })
      assert.strictEqual(file?.digest, stdout.slice(0, 64))
    })
  )

  const tree: Tree = {
    "app.log": "",
    "keep.txt": "",
    logs: { "a.log": "", "b.txt": "" },
    node_modules: { dep: { "index.js": "" } },
    src: { node_modules: { "x.js": "" }, "main.ts": "", "main.log": "" }
  }

  const patterns: ReadonlyArray<readonly [ignore: ReadonlyArray<string>, left: ReadonlyArray<string>]> = [
    [
      ["node_modules"],
      ["app.log", "keep.txt", "logs", "logs/a.log", "logs/b.txt", "src", "src/main.log", "src/main.ts"]
    ],
    [
      ["/node_modules", "/logs"],
      ["app.log", "keep.txt", "src", "src/main.log", "src/main.ts", "src/node_modules", "src/node_modules/x.js"]
    ],
    [
      ["*.log", "node_modules/", "!app.log"],
      ["app.log", "keep.txt", "logs", "logs/b.txt", "src", "src/main.ts"]
    ],
    [["*", "!keep.txt"], ["keep.txt"]],
    [
      ["# a comment", "**/main.*", "logs/**", "node_modules"],
      ["app.log", "keep.txt", "logs", "src"]
    ],
    [
      ["", "node_modules", "  ", "logs", "src"],
      ["app.log", "keep.txt"]
    ],
    [["# all of a file\n\nnode_modules\r\nlogs\nsrc\n"], ["app.log", "keep.txt"]],
    [["keep.txt/", "logs", "node_modules", "src", "*.log"], ["keep.txt"]]
  ]

  it.effect.each(patterns.map(([ignore, left]) => ({ ignore, left })))("ignores $ignore", ({ ignore, left }) =>
    Effect.gen(function* () {
      const folder = yield* makeTree(tree)
      const files = yield* list(folder, ignore)
      assert.deepStrictEqual(paths(files), left)
      const packed = yield* entriesOf(pack(folder, files))
      assert.deepStrictEqual(packed.map(({ header }) => header.name.replace(/\/$/, "")).toSorted(), left.toSorted())
    })
  )

  const tars: ReadonlyArray<readonly [string, ...ReadonlyArray<string>]> = [["tar"], ["busybox", "tar"]]
  const installed = tars.filter(([command]) => ChildProcess.spawnSync(command, ["--help"]).error === undefined)

  it.effect.each(installed)("packs files so that %s unpacks them unchanged", ([command, ...words]) =>
    Effect.gen(function* () {
      const folder = yield* makeTree({
        "with space": "a",
        "new\nline": "b",
        "ünïcödé ∞": { 日本: "c" },
        "-rf": "d",
        "'quote\"": "e",
        "back\\slash": "f",
        ["long".repeat(30)]: { ["name".repeat(60)]: "g" },
        link: ["with space"],
        broken: ["../../outside"],
        ["l".repeat(99)]: ["t".repeat(200)],
        empty: {}
      })
      Fs.chmodSync(Path.join(folder, "-rf"), 0o755)
      Fs.chmodSync(Path.join(folder, "empty"), 0o700)
      Fs.writeFileSync(
        Path.join(folder, "binary"),
        Uint8Array.from({ length: 100_000 }, (_, index) => index % 256)
      )
      const target = yield* makeFolder
      const { status, stderr } = ChildProcess.spawnSync(command, [...words, "-xpf", "-", "-C", target], {
        input: yield* Stream.mkUint8Array(pack(folder, yield* list(folder))),
        encoding: "utf8"
      })
      assert.strictEqual(stderr, "")
      assert.strictEqual(status, 0)
      assert.deepStrictEqual(seen(target), seen(folder))
    })
  )

  it.effect("packs a single file under the given name", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ "config.dev.json": "{}" })
      const path = Path.join(folder, "config.dev.json")
      const files = yield* list(path)
      assert.deepStrictEqual(paths(files), [""])
      const packed = yield* entriesOf(
        pack(path, files, { name: "config.json", mode: 0o600, owner: { uid: 7, gid: 8 } })
      )
      assert.deepStrictEqual(
        packed.map(({ header }) => [header.name, header.mode, header.uid, header.gid]),
        [["config.json", 0o600, 7, 8]]
      )
    })
  )

  it.effect("packs the given owner and mode, and no local names", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ folder: { file: "" } })
      const packed = yield* entriesOf(
        pack(folder, yield* list(folder), { mode: 0o640, owner: { uid: 1000, gid: 2000 } })
      )
      for (const { header } of packed) {
        assert.deepStrictEqual([header.uid, header.gid, header.uname ?? "", header.gname ?? ""], [1000, 2000, "", ""])
        assert.strictEqual(header.mode, header.type === "directory" ? 0o750 : 0o640)
      }
    })
  )

  it.effect("follows a link that is the copied path itself", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ real: { file: "x" }, link: ["real"] })
      assert.deepStrictEqual(paths(yield* list(Path.join(folder, "link"))), ["file"])
    })
  )

  it.effect("names the path of a missing file", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const reason = yield* describeError(list(Path.join(folder, "none")))
      assert.include(reason, { operation: "copy", path: Path.join(folder, "none"), code: "ENOENT" })
    })
  )

  it.effect("rejects a special file in a folder, by its path", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ a: {} })
      const fifo = Path.join(folder, "a", "fifo")
      ChildProcess.spawnSync("mkfifo", [fifo])
      const reason = yield* describeError(list(folder))
      assert.include(reason, { path: fifo, problem: "only files, folders and symbolic links can be copied" })
      assert.deepStrictEqual(paths(yield* list(folder, ["fifo"])), ["a"])
    })
  )

  it.effect("rejects a special file as the path itself", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const fifo = Path.join(folder, "fifo")
      ChildProcess.spawnSync("mkfifo", [fifo])
      for (const path of [fifo, "/dev/zero"]) {
        const reason = yield* describeError(list(path))
        assert.include(reason, { path, problem: "only files, folders and symbolic links can be copied" })
      }
    })
  )

  it.effect("fails if a file or link changed after listing, even to the same size", () =>
    Effect.gen(function* () {
      for (const name of ["file", "link"]) {
        const folder = yield* makeTree({ file: "before", link: ["before"], other: "" })
        const files = yield* list(folder)
        const path = Path.join(folder, name)
        Fs.rmSync(path)
        if (name === "file") Fs.writeFileSync(path, "behind")
        else Fs.symlinkSync("behind", path)
        const reason = yield* describeError(Stream.runDrain(pack(folder, files)))
        assert.include(reason, { operation: "copy", problem: `"${path}" changed while it was copied` })
      }
    })
  )

  it.effect("fails if a folder was replaced after listing, even with the same content", () =>
    Effect.gen(function* () {
      for (const replace of [
        (path: string, other: string) => Fs.symlinkSync(other, path),
        (path: string) => Fs.writeFileSync(path, "")
      ]) {
        const folder = yield* makeTree({ sub: { inner: { file: "before" } } })
        const other = yield* makeTree({ inner: { file: "before" } })
        const files = yield* list(folder)
        const path = Path.join(folder, "sub")
        Fs.rmSync(path, { recursive: true })
        replace(path, other)
        const reason = yield* describeError(Stream.runDrain(pack(folder, files)))
        assert.include(reason, { operation: "copy" })
        assert.match(reason.problem, /^"\/.*\/sub(\/inner)?" changed while it was copied$/)
      }
    })
  )

  it.effect("fails if a folder was replaced after listing, before reading all of it", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ sub: { file: "before" } })
      const files = yield* list(folder)
      Fs.renameSync(Path.join(folder, "sub"), `${folder}-old`)
      Fs.mkdirSync(Path.join(folder, "sub"))
      Fs.writeFileSync(Path.join(folder, "sub", "file"), "behind")
      const reason = yield* describeError(Stream.runDrain(pack(folder, files)))
      Fs.rmSync(`${folder}-old`, { recursive: true })
      assert.include(reason, { problem: `"${Path.join(folder, "sub", "file")}" changed while it was copied` })
    })
  )

  it.effect("does not open a folder through a link, and stays in one that moves", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ a: { b: { file: "inside" } }, link: ["a"] })
      for (const names of [["link"], ["link", "b"], ["a", "b", "file"]]) {
        assert.strictEqual(
          yield* Effect.promise(() =>
            Folders.open(folder, names).then(
              ({ close }) => close(),
              (cause) => cause.code
            )
          ),
          "ENOTDIR"
        )
      }
      const open = yield* Effect.promise(() => Folders.open(folder, ["a", "b"]))
      Fs.renameSync(Path.join(folder, "a"), Path.join(folder, "moved"))
      Fs.mkdirSync(Path.join(folder, "a", "b"), { recursive: true })
      const names = Fs.readdirSync(open.path)
      yield* Effect.promise(open.close)
      assert.deepStrictEqual(names, process.platform === "linux" ? ["file"] : [])
    })
  )

  it.effect("names the file that cannot be read, not how it was opened", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ sub: { file: "x" } })
      const files = yield* list(folder)
      Fs.rmSync(Path.join(folder, "sub", "file"))
      const reason = yield* describeError(Stream.runDrain(pack(folder, files)))
      assert.include(reason.problem, `'${Path.join(folder, "sub", "file")}'`)
    })
  )

  it.effect("fails if a file is removed between listing and packing", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ file: "x" })
      const files = yield* list(Path.join(folder, "file"))
      Fs.rmSync(Path.join(folder, "file"))
      const reason = yield* describeError(Stream.runDrain(pack(Path.join(folder, "file"), files)))
      assert.strictEqual(reason.code, "ENOENT")
    })
  )

  it.effect.each(["longer than before", "x"])("fails if a file has become %j since it was listed", (content) =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ file: "before" })
      const files = yield* list(folder)
      Fs.writeFileSync(Path.join(folder, "file"), content)
      const reason = yield* describeError(Stream.runDrain(pack(folder, files)))
      assert.match(reason.problem, /file"/)
    })
  )

  it.effect("unpacks what it packed", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ a: { b: "c" }, link: ["a/b"] })
      const target = yield* makeFolder
      yield* HostFiles.unpack("Volume.copy", target, pack(folder, yield* list(folder)))
      assert.deepStrictEqual(
        seen(target).map((line) => line.replace(/ \d+/, "")),
        seen(folder).map((line) => line.replace(/ \d+/, ""))
      )
    })
  )

  const times: ReadonlyArray<readonly [written: string, read: string]> = [
    ["1969-12-31T23:59:00Z", "1970-01-01T00:00:00.000Z"],
    ["2001-02-03T04:05:06Z", "2001-02-03T04:05:06.000Z"],
    ["2242-03-16T12:56:31Z", "2242-03-16T12:56:31.000Z"],
    ["2300-01-01T00:00:00Z", "2242-03-16T12:56:31.000Z"]
  ]

  it.effect.each(times)("packs a file of %s with the time %s", ([written, read]) =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ file: "x" })
      Fs.utimesSync(Path.join(folder, "file"), 0, new Date(written))
      const packed = yield* entriesOf(pack(folder, yield* list(folder)))
      assert.deepStrictEqual(
        packed.map(({ header }) => header.mtime?.toISOString()),
        [read]
      )
    })
  )

  it.effect("packs an owner id that is too large for a plain header", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ file: "x" })
      const owner = { uid: 1_000_680_000, gid: 4_294_967_294 }
      const archive = yield* Stream.mkUint8Array(pack(folder, yield* list(folder), { owner }))
      for (const [command, ...words] of installed) {
        const flags = command === "tar" ? ["--numeric-owner"] : []
        const { stdout } = ChildProcess.spawnSync(command, [...words, ...flags, "-tvf", "-"], { input: archive })
        assert.match(stdout.toString(), /1000680000\/4294967294/)
      }
    })
  )

  it.effect("ignores names case-sensitively", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ Build: { a: "" }, build: { b: "" }, "README.MD": "", "a.md": "" })
      assert.deepStrictEqual(paths(yield* list(folder, ["build", "*.md"])), ["Build", "Build/a", "README.MD"])
    })
  )

  it.effect("rejects names and link targets that are not UTF-8, unless ignored", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ sub: {} })
      const sub = Buffer.from(`${folder}/sub/`)
      const latin = Buffer.concat([sub, Buffer.from("caf\u00e9.txt", "latin1")])
      Fs.writeFileSync(latin, "x")
      assert.strictEqual((yield* describeError(list(folder))).problem, "the name caf\\xe9.txt is not UTF-8")
      assert.deepStrictEqual(paths(yield* list(folder, ["caf*"])), ["sub"])
      Fs.rmSync(latin)
      Fs.symlinkSync(latin, Path.join(folder, "link"))
      assert.match((yield* describeError(list(folder))).problem, /is not UTF-8/)
    })
  )

  it.effect("follows no link that replaced a listed file", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ copied: { file: "same" }, outside: "same" })
      const files = yield* list(Path.join(folder, "copied"))
      Fs.rmSync(Path.join(folder, "copied", "file"))
      Fs.symlinkSync("../outside", Path.join(folder, "copied", "file"))
      yield* describeError(Stream.runDrain(pack(Path.join(folder, "copied"), files)))
    })
  )

  it.effect.each(installed)("unpacks files of any date, packed by %s", ([command, ...words]) =>
    Effect.gen(function* () {
      const folder = yield* makeTree({
        a: "1",
        old: "precious\n",
        empty: "",
        z: "2",
        ["ü".repeat(120)]: "3",
        link: ["old"]
      })
      for (const name of ["old", "empty"]) Fs.utimesSync(Path.join(folder, name), 0, new Date("1960-01-01"))
      const target = yield* makeFolder
      const { stdout } = ChildProcess.spawnSync(command, [...words, "-cf", "-", "-C", folder, "."], {
        env: { ...process.env, ...tarVariables }
      })
      yield* HostFiles.unpack("Sandbox.copyOut", target, Stream.make(stdout))
      assert.deepStrictEqual(seen(target), seen(folder))
    })
  )

  it.effect("fails on a header it cannot read, instead of parsing content as one", () =>
    Effect.gen(function* () {
      const folder = yield* makeTree({ old: "precious\n" })
      Fs.utimesSync(Path.join(folder, "old"), 0, new Date("1960-01-01"))
      const target = yield* makeFolder
      const { stdout } = ChildProcess.spawnSync("tar", ["--format=gnu", "-cf", "-", "-C", folder, "."])
      yield* describeError(HostFiles.unpack("Sandbox.copyOut", target, Stream.make(stdout)))
      assert.deepStrictEqual(seen(target), [])
    })
  )

  const refused: ReadonlyArray<readonly [what: string, header: Tar.TarHeader, problem: RegExp]> = [
    ["a pipe", { name: "./p", size: 0, type: "fifo" }, /pipe or device/],
    ["a device", { name: "./d", size: 0, type: "character-device" }, /pipe or device/],
    ["a name with a backslash", { name: "./a\\b", size: 0, type: "file" }, /backslash/],
    ["a name that was not UTF-8", { name: "./caf\uFFFD", size: 0, type: "file" }, /not UTF-8/],
    ["a link's target that was not UTF-8", { name: "./l", size: 0, type: "symlink", linkname: "\uFFFD" }, /not UTF-8/]
  ]

  it.effect.each(refused)("rejects %s", ([, header, problem]) =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const archive = yield* Effect.promise(() => Tar.packTar([{ header }]))
      const reason = yield* describeError(HostFiles.unpack("Sandbox.copyOut", folder, Stream.make(archive)))
      assert.strictEqual(reason.code, "EINVAL")
      assert.match(reason.problem, problem)
      assert.deepStrictEqual(seen(folder), [])
    })
  )

  const endings = ["ends early", "fails", "never ends"] as const

  it.effect.each(endings)("leaves no link of an archive that %s", (ending) =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const target = Path.join(folder, "target")
      const archive = yield* Effect.promise(() =>
        Tar.packTar([
          { header: { name: "a/b/", size: 0, type: "directory" } },
          { header: { name: "a/b/up", size: 0, type: "symlink", linkname: "../.." } },
          { header: { name: "escapes", size: 0, type: "symlink", linkname: "a/b/up/../secret" } }
        ])
      )
      const received = yield* Deferred.make<void>()
      const rest =
        ending === "ends early"
          ? Stream.empty
          : ending === "fails"
            ? Stream.fail("lost")
            : Stream.fromEffect(Effect.andThen(Deferred.succeed(received, undefined), Effect.never))
      const bytes = Stream.concat(Stream.make(archive.subarray(0, -1024)), rest)
      const unpacking = yield* Effect.forkChild(HostFiles.unpack("Sandbox.copyOut", target, bytes))
      if (ending === "never ends") {
        yield* Deferred.await(received)
        yield* Fiber.interrupt(unpacking)
      }
      assert.isTrue(Exit.isFailure(yield* Fiber.await(unpacking)))
      assert.deepStrictEqual(
        seen(target).map((line) => line.split(" ")[0]),
        ["a/", "a/b/"]
      )
    })
  )

  const escapes: ReadonlyArray<readonly [what: string, entries: ReadonlyArray<Tar.TarEntry>]> = [
    ["a path out of the folder", [{ header: { name: "../evil", size: 1, type: "file" }, body: "x" }]],
    ["an absolute path", [{ header: { name: "/tmp/../evil", size: 1, type: "file" }, body: "x" }]],
    [
      "a path through a link out of the folder",
      [
        { header: { name: "out", size: 0, type: "symlink", linkname: ".." } },
        { header: { name: "out/evil", size: 1, type: "file" }, body: "x" }
      ]
    ]
  ]

  it.effect.each(escapes.map(([what, entries]) => ({ what, entries })))(
    "never writes outside through $what",
    ({ entries }) =>
      Effect.gen(function* () {
        const folder = yield* makeTree({ inside: {} })
        const archive = yield* Effect.promise(() => Tar.packTar([...entries]))
        yield* Effect.exit(HostFiles.unpack("Volume.copy", Path.join(folder, "inside"), Stream.make(archive)))
        assert.isFalse(Fs.existsSync(Path.join(folder, "evil")))
        assert.isFalse(Fs.existsSync("/evil"))
      })
  )

  const Name = Schema.NonEmptyString.check(
    Schema.makeFilter((name) => name.isWellFormed() && !/^\.\.?$|[\0/]/.test(name) && Buffer.byteLength(name) <= 255)
  )

  it.effect.prop("packs any name and any content", [Name, Schema.Uint8Array], ([name, content]) =>
    Effect.scoped(
      Effect.gen(function* () {
        const folder = yield* makeFolder
        Fs.writeFileSync(Path.join(folder, name), content)
        const files = yield* list(folder)
        assert.deepStrictEqual(paths(files), [name])
        const packed = yield* entriesOf(pack(folder, files))
        const entry = packed.find(({ header }) => header.name === name)
        assert.deepStrictEqual(Buffer.from(entry?.data ?? [255]), Buffer.from(content))
      })
    )
  )
})

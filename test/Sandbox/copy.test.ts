/**
 * Copying between the host and a guest.
 */
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import { temporary } from "../support.ts"

const launch = Sandbox.launch({ image: "busybox" })

const fieldOf = <A, R>(effect: Effect.Effect<A, { readonly reason: object }, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => ("field" in reason ? reason.field : reason))

describe("copying", () => {
  layer(MicrosandboxMemory.layer())((it) => {
    it.effect("copies folders in and out with their permissions, links and bytes", () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const source = Path.join(folder, "source")
        Fs.mkdirSync(Path.join(source, "bin", "empty"), { recursive: true })
        Fs.writeFileSync(Path.join(source, "bin", "tool"), "#!/bin/sh\n", { mode: 0o755 })
        Fs.writeFileSync(Path.join(source, "bytes"), Uint8Array.of(0, 255, 10), { mode: 0o640 })
        Fs.writeFileSync(Path.join(source, "debug.log"), "left out")
        Fs.symlinkSync("bin/tool", Path.join(source, "link"))
        const sandbox = yield* launch
        yield* sandbox.copyIn(source, "/srv/app", { ignore: ["*.log"], owner: { uid: 7, gid: 8 } })
        assert.deepInclude(yield* sandbox.stat("/srv/app/bin/tool"), { mode: 0o755, uid: 7, gid: 8 })

        const target = Path.join(folder, "new", "target")
        yield* sandbox.copyOut("/srv/app", target)
        assert.deepStrictEqual(
          Fs.readdirSync(target, { recursive: true }).toSorted((a, b) => (a < b ? -1 : 1)),
          ["bin", "bin/empty", "bin/tool", "bytes", "link"]
        )
        assert.strictEqual(Fs.statSync(Path.join(target, "bin", "tool")).mode & 0o7777, 0o755)
        assert.strictEqual(Fs.statSync(Path.join(target, "bytes")).mode & 0o7777, 0o640)
        assert.deepStrictEqual([...Fs.readFileSync(Path.join(target, "bytes"))], [0, 255, 10])
        assert.strictEqual(Fs.readlinkSync(Path.join(target, "link")), "bin/tool")
      })
    )

    it.effect("copies a single file to exactly the given path", () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const file = Path.join(folder, "a.txt")
        Fs.writeFileSync(file, "text", { mode: 0o600 })
        const sandbox = yield* launch
        yield* sandbox.copyIn(file, "/deep/er/b.txt")
        assert.strictEqual(yield* sandbox.readFileString("/deep/er/b.txt"), "text")
        assert.strictEqual((yield* sandbox.stat("/deep/er/b.txt")).mode, 0o600)
        yield* sandbox.copyOut("/deep/er/b.txt", Path.join(folder, "x", "c.txt"))
        assert.strictEqual(Fs.readFileSync(Path.join(folder, "x", "c.txt"), "utf8"), "text")
        assert.propertyVal(yield* fieldOf<unknown, never>(sandbox.copyOut("/deep/er/b.txt", folder)), "code", "EISDIR")
      })
    )

    it.effect("rejects a link out of the folder, and drops setuid, when copying out", () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const sandbox = yield* launch
        yield* sandbox.shell("mkdir /evil /bad && ln -s /etc /evil/etc && echo x > /bad/su && chmod 4755 /bad/su")
        const { reason } = yield* Effect.flip(sandbox.copyOut("/evil", Path.join(folder, "evil")))
        assert.strictEqual(reason._tag, "FileError")
        assert.match(reason.message, /outside/)
        yield* sandbox.copyOut("/bad", Path.join(folder, "bad"))
        assert.strictEqual(Fs.statSync(Path.join(folder, "bad", "su")).mode & 0o7777, 0o755)
      })
    )

    it.effect("follows links to folders, and keeps owners and modes of existing folders", () =>
      Effect.gen(function* () {
        const source = Path.join(yield* temporary, "rootfs")
        for (const name of ["bin", "app", "tmp", "new"]) {
          Fs.mkdirSync(Path.join(source, name), { recursive: true, mode: 0o700 })
          Fs.writeFileSync(Path.join(source, name, "hello"), name)
        }
        const sandbox = yield* launch
        yield* sandbox.shell(
          "mkdir -p /t/usr/bin /t/app /t/tmp && ln -s usr/bin /t/bin && chown 7:8 /t/app && chmod 1777 /t/tmp",
          { check: true }
        )
        yield* sandbox.copyIn(source, "/t", { owner: { uid: 1, gid: 2 } })
        assert.strictEqual(yield* sandbox.readLink("/t/bin"), "usr/bin")
        assert.strictEqual(yield* sandbox.readFileString("/t/usr/bin/hello"), "bin")
        assert.deepInclude(yield* sandbox.stat("/t/app"), { uid: 7, gid: 8, mode: 0o755 })
        assert.deepInclude(yield* sandbox.stat("/t/tmp"), { uid: 0, mode: 0o1777 })
        assert.deepInclude(yield* sandbox.stat("/t/new"), { uid: 1, gid: 2, mode: 0o700 })
        assert.deepInclude(yield* sandbox.stat("/t/app/hello"), { uid: 1, gid: 2 })
        // And once more over the existing files.
        yield* sandbox.copyIn(source, "/t")
      })
    )

    it.effect("does not replace a folder with a file or a file with a folder, and copies nothing then", () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        Fs.mkdirSync(Path.join(folder, "tree", "sub"), { recursive: true })
        Fs.writeFileSync(Path.join(folder, "tree", "first"), "x")
        const file = Path.join(folder, "tree", "first")
        const sandbox = yield* launch
        yield* sandbox.shell(
          "mkdir -p /a/conf.d /b/first /c && touch /c/sub && ln -s none /a/dead && ln -s a/conf.d /l"
        )
        for (const path of ["/a/conf.d", "/a/new/", "/l"]) {
          assert.propertyVal(yield* fieldOf(sandbox.copyIn(file, path)), "code", "EISDIR")
        }
        assert.propertyVal(yield* fieldOf(sandbox.copyIn(Path.join(folder, "tree"), "/b")), "code", "EISDIR")
        assert.propertyVal(yield* fieldOf(sandbox.copyIn(Path.join(folder, "tree"), "/c")), "code", "ENOTDIR")
        assert.propertyVal(yield* fieldOf(sandbox.copyIn(Path.join(folder, "tree"), "/c/sub")), "code", "ENOTDIR")
        assert.deepStrictEqual((yield* sandbox.shell("cd / && find a b c l | sort")).stdout.trim().split("\n"), [
          "a",
          "a/conf.d",
          "a/dead",
          "b",
          "b/first",
          "c",
          "c/sub",
          "l"
        ])
        yield* sandbox.copyIn(file, "/a/dead")
        assert.strictEqual(yield* sandbox.readFileString("/a/dead"), "x")
      })
    )

    it.effect("reads and copies no more than the limit, and no devices", () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const sandbox = yield* launch
        yield* sandbox.shell("mkdir /d && echo 123456789 > /d/f && mv /etc/passwd /p && ln -s /dev/zero /etc/passwd")
        assert.strictEqual(yield* sandbox.readFileString("/d/f", { maxBytes: 10 }), "123456789\n")
        for (const read of [
          sandbox.readFile("/d/f", { maxBytes: 9 }),
          sandbox.readFileString("/d/f", { maxBytes: 9 }),
          sandbox.readFile("/etc/passwd", { maxBytes: "1M" }),
          sandbox.copyOut("/d/f", Path.join(folder, "f"), { maxBytes: 9 }),
          sandbox.copyOut("/d", Path.join(folder, "d"), { maxBytes: "1K" }),
          sandbox.copyIn(import.meta.filename, "/x", { owner: "app" })
        ]) {
          assert.propertyVal(yield* fieldOf<unknown, never>(read), "code", "EFBIG")
        }
        assert.propertyVal(yield* fieldOf(sandbox.copyOut("/etc/passwd", Path.join(folder, "p"))), "code", "EINVAL")
        assert.strictEqual(yield* fieldOf(sandbox.readFile("/d/f", { maxBytes: -1 })), "maxBytes")
        yield* sandbox.copyOut("/d", Path.join(folder, "d"), { maxBytes: "1M" })
        assert.strictEqual(Fs.readFileSync(Path.join(folder, "d", "f"), "utf8"), "123456789\n")
      })
    )

    it.effect("copies files of any date in and out", () =>
      Effect.gen(function* () {
        const source = Path.join(yield* temporary, "times")
        Fs.mkdirSync(source)
        for (const year of ["1960", "2024", "2300"]) {
          Fs.writeFileSync(Path.join(source, year), year)
          Fs.utimesSync(Path.join(source, year), 0, new Date(year))
        }
        const sandbox = yield* launch
        yield* sandbox.copyIn(source, "/times")
        yield* sandbox.shell("touch -d '1955-01-01 00:00:00' /times/1955", { check: true })
        const target = `${source}-out`
        yield* sandbox.copyOut("/times", target)
        assert.deepStrictEqual(Fs.readdirSync(target).toSorted(), ["1955", "1960", "2024", "2300"])
        assert.strictEqual(Fs.readFileSync(Path.join(target, "2300"), "utf8"), "2300")
        assert.strictEqual(Fs.statSync(Path.join(target, "2024")).mtime.getUTCFullYear(), 2024)
      })
    )

    it.effect("names the invalid argument before copying anything", () =>
      Effect.gen(function* () {
        const sandbox = yield* launch
        assert.strictEqual(yield* fieldOf(sandbox.copyIn("", "/a")), "hostPath")
        assert.strictEqual(yield* fieldOf(sandbox.copyIn(".", "a")), "path")
        assert.strictEqual(yield* fieldOf(sandbox.copyIn(".", "/a", { mode: -1 })), "mode")
        assert.strictEqual(yield* fieldOf(sandbox.copyOut("../a", "b")), "path")
        assert.strictEqual(yield* fieldOf(sandbox.copyIn("/nowhere", "/a")), "hostPath")
        assert.propertyVal(yield* fieldOf(sandbox.copyOut("/nowhere", "b")), "code", "ENOENT")
        assert.isFalse(Fs.existsSync("b"))
      })
    )
  })
})

/**
 * Copying between the host and a guest.
 */
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "copy-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const launch = Sandbox.launch({ image: "busybox" })

const fieldOf = <A, R>(effect: Effect.Effect<A, { readonly reason: object }, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => ("field" in reason ? reason.field : reason))

describe("copying", () => {
  layer(MicrosandboxMemory.layer())((it) => {
    it.effect("brings folders in and out again with their permissions, links and bytes", () =>
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

    it.effect("brings a single file to exactly the path", () =>
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
      })
    )

    it.effect("takes neither a link out of the folder nor rights of others from a guest", () =>
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

    it.effect("names what is wrong before anything is copied", () =>
      Effect.gen(function* () {
        const sandbox = yield* launch
        assert.strictEqual(yield* fieldOf(sandbox.copyIn("", "/a")), "from")
        assert.strictEqual(yield* fieldOf(sandbox.copyIn(".", "a")), "to")
        assert.strictEqual(yield* fieldOf(sandbox.copyIn(".", "/a", { mode: -1 })), "mode")
        assert.strictEqual(yield* fieldOf(sandbox.copyOut("../a", "b")), "from")
        assert.propertyVal(yield* fieldOf(sandbox.copyIn("/nowhere", "/a")), "code", "ENOENT")
        assert.propertyVal(yield* fieldOf(sandbox.copyOut("/nowhere", "b")), "code", "ENOENT")
        assert.isFalse(Fs.existsSync("b"))
      })
    )
  })
})

import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, beforeAll } from "vitest"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { buildSnapshot, runInSandbox, type Sandbox, SandboxFs } from "../../src/promise.ts"
import { reasonOf, rejection, twin } from "./support.ts"

const memory = twin()

let folder = ""

beforeAll(() => {
  folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "files"))
})

afterAll(() => Fs.rmSync(folder, { recursive: true }))

const withFiles = async <A>(use: (files: SandboxFs, sb: Sandbox) => Promise<A>): Promise<A> => {
  await buildSnapshot({ name: "base", image: "debian:12" })
  return await runInSandbox({ snapshot: "base", name: "s" }, (sb) => use(sb.fs(), sb))
}

const text = (data: Uint8Array): string => new TextDecoder().decode(data)

/** More than one piece. */
const large = new Uint8Array(1_500_000).map((_, index) => index % 251)

describe("SandboxFs", () => {
  it("writes and reads whole files, as text and bytes", async () => {
    await withFiles(async (files, sb) => {
      assert.instanceOf(files, SandboxFs)
      await files.write("/root/text", "∞\n")
      assert.strictEqual(await files.readToString("/root/text"), "∞\n")
      assert.strictEqual(text(await files.read("/root/text")), "∞\n")
      await files.write("/root/text", new Uint8Array([104, 105]))
      assert.strictEqual((await sb.exec("cat", ["/root/text"])).stdout(), "hi")
    })
  })

  it("reads in chunks: all, one by one, or the rest", async () => {
    await withFiles(async (files) => {
      await files.write("/root/large", large)
      const pieces: Array<Uint8Array> = []
      for await (const piece of await files.readStream("/root/large")) pieces.push(piece)
      assert.isTrue(Buffer.concat(pieces).equals(large))
      const file = await files.readStream("/root/large")
      const first = await file.recv()
      assert.isNotNull(first)
      assert.isTrue(Buffer.concat([first ?? new Uint8Array(), await file.collect()]).equals(large))
      assert.isNull(await file.recv())
    })
  })

  it("closes a file that is not read to its end", async () => {
    await withFiles(async (files) => {
      await files.write("/root/large", large)
      for await (const piece of await files.readStream("/root/large")) {
        assert.isAbove(piece.length, 0)
        break
      }
      const file = await files.readStream("/root/large")
      await file[Symbol.asyncDispose]()
      assert.isNull(await file.recv())
    })
  })

  it("writes in chunks, in order", async () => {
    await withFiles(async (files) => {
      {
        await using file = await files.writeStream("/root/f")
        await file.write("one ")
        await file.write(new TextEncoder().encode("two"))
      }
      assert.strictEqual(await files.readToString("/root/f"), "one two")
      const again = await files.writeStream("/root/f")
      await again.write("3")
      await again.close()
      assert.strictEqual(await files.readToString("/root/f"), "3")
    })
  })

  it("creates, lists and removes folders", async () => {
    await withFiles(async (files, sb) => {
      await files.mkdir("/root/a/b")
      await files.mkdir("/root/a/b")
      await files.write("/root/a/f", "12345")
      await sb.shell("ln -s f /root/a/link; chmod 640 /root/a/f; mkfifo /root/a/pipe || true")
      const entries = await files.list("/root/a")
      const kinds = Object.fromEntries(entries.map(({ kind, path }) => [path, kind]))
      assert.deepInclude(kinds, { "/root/a/b": "directory", "/root/a/f": "file", "/root/a/link": "symlink" })
      const file = entries.find(({ path }) => path === "/root/a/f")
      assert.strictEqual(file?.size, 5)
      assert.strictEqual((file?.mode ?? 0) & 0o777, 0o640)
      assert.instanceOf(file?.modified, Date)
      await files.removeDir("/root/a")
      assert.isFalse(await files.exists("/root/a"))
    })
  })

  it("returns the metadata of a file", async () => {
    await withFiles(async (files, sb) => {
      await files.write("/root/f", "12345")
      await sb.shell("chmod 444 /root/f; touch -d @86400 /root/f")
      const found = await files.stat("/root/f")
      assert.deepInclude(found, { kind: "file", size: 5, readonly: true, created: null })
      assert.deepStrictEqual(found.modified, new Date(86_400_000))
      assert.deepInclude(await files.stat("/root"), { kind: "directory", readonly: false })
    })
  })

  it("copies, renames and removes files", async () => {
    await withFiles(async (files) => {
      await files.write("/root/a", "content")
      await files.copy("/root/a", "/root/b")
      await files.rename("/root/b", "/root/c")
      await files.remove("/root/a")
      const there = await Promise.all(["a", "b", "c"].map((name) => files.exists(`/root/${name}`)))
      assert.deepStrictEqual(there, [false, false, true])
      assert.strictEqual(await files.readToString("/root/c"), "content")
    })
  })

  it("copies from and to the host, with permissions and relative paths", async () => {
    await withFiles(async (files) => {
      const here = Path.join(folder, "here")
      Fs.writeFileSync(here, large, { mode: 0o700 })
      await files.copyFromHost(Path.relative(process.cwd(), here), "/root/there")
      assert.strictEqual((await files.stat("/root/there")).mode & 0o777, 0o700)
      const back = Path.join(folder, "back")
      await files.copyToHost("/root/there", Path.relative(process.cwd(), back))
      assert.isTrue(Fs.readFileSync(back).equals(large))
      assert.strictEqual(Fs.statSync(back).mode & 0o777, 0o700)
    })
  })

  it("reads and copies no more than the limit, and folders with what is in them", async () => {
    await withFiles(async (files) => {
      const to = Path.join(folder, "made", "by", "it")
      await files.mkdir("/root/tree")
      await files.write("/root/tree/f", "12345")
      await files.copyToHost("/root/tree", to, { maxBytes: "1 MiB" })
      assert.strictEqual(Fs.readFileSync(Path.join(to, "f"), "utf8"), "12345")
      for (const reading of [
        () => files.read("/root/tree/f", { maxBytes: 4 }),
        () => files.readToString("/root/tree/f", { maxBytes: 4 }),
        () => files.copyToHost("/root/tree/f", Path.join(folder, "short"), { maxBytes: 4 }),
        () => files.copyToHost("/root/tree", Path.join(folder, "shorter"), { maxBytes: 4 })
      ]) {
        const { reason } = await rejection(reading())
        assert.deepInclude(reason, { _tag: "FileError", code: "EFBIG" })
      }
      assert.strictEqual(await files.readToString("/root/tree/f", { maxBytes: 5 }), "12345")
    })
  })

  it("rejects with the path and the errno", async () => {
    await withFiles(async (files) => {
      const missing = Path.join(folder, "missing")
      for (const [failing, path] of [
        [() => files.read("/none"), "/none"],
        [() => files.readToString("/none"), "/none"],
        [() => files.readStream("/none"), "/none"],
        [() => files.write("/none/f", ""), "/none/f"],
        [() => files.writeStream("/none/f"), "/none/f"],
        [() => files.list("/none"), "/none"],
        [() => files.stat("/none"), "/none"],
        [() => files.remove("/none"), "/none"],
        [() => files.removeDir("/none"), "/none"],
        [() => files.copy("/none", "/f"), "/none"],
        [() => files.rename("/none", "/f"), "/none"],
        [() => files.copyToHost("/none", missing), "/none"]
      ] as const) {
        const { message, reason } = await rejection(failing())
        assert.strictEqual(reason._tag, "FileError", message)
        assert.include(message, path)
        assert.include(message, "ENOENT")
      }
      const { reason } = await rejection(files.copyFromHost(missing, "/f"))
      assert.deepInclude(reason, { field: "hostPath", problem: `${missing} does not exist on this host` })
    })
  })

  it("stops an aborted copy", async () => {
    await withFiles(async (files) => {
      const reason = new Error("enough")
      await files.write("/root/f", "content")
      await memory.inject(MicrosandboxMemory.hangAt("file.stream"))
      const controller = new AbortController()
      const copying = files.copyToHost("/root/f", Path.join(folder, "partial"), { signal: controller.signal })
      await memory.until("file.stream")
      controller.abort(reason)
      assert.strictEqual(await reasonOf(copying), reason)
    })
  })
})

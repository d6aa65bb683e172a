/**
 * The backend for deepagents, on the twin. deepagents' own implementation judges its file tools in `test/judges/adapters`;
 * these are the other promises of its protocol.
 */
import { assert, describe, it } from "@effect/vitest"
import { type SandboxBackend, sandboxBackend, type SandboxBackendOptions } from "../../src/deepagents.ts"
import { globPattern } from "../../src/internal/adapters/glob.ts"
import * as Lightbox from "../../src/promise.ts"
import { rejection, twin, untyped, wrongField } from "../promise/support.ts"

const memory = twin()

const inBackend = async (
  use: (backend: SandboxBackend, sandbox: Lightbox.Sandbox) => Promise<void>,
  options: SandboxBackendOptions = { workdir: "/work" }
): Promise<void> => {
  await using sandbox = await Lightbox.launchSandbox({ image: "busybox", network: "none" })
  await use(await sandboxBackend(sandbox, options), sandbox)
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

describe("sandboxBackend", () => {
  it("rejects wrong options, and names them", () =>
    inBackend(async (_, sandbox) => {
      for (const [field, value] of [
        ["workdir", "rel"],
        ["shell", ""],
        ["timeoutMs", 0],
        ["maxOutput", "1X"],
        ["froce", true]
      ] as const) {
        const error = await rejection(sandboxBackend(sandbox, untyped({ [field]: value })))
        assert.strictEqual(wrongField(error), field)
      }
    }))

  it("has the name of its sandbox, and runs until it is closed", async () => {
    const sandbox = await Lightbox.launchSandbox({ image: "busybox" })
    const backend = await sandboxBackend(sandbox)
    assert.strictEqual(backend.id, sandbox.name)
    assert.isTrue(backend.isRunning)
    await backend.close()
    await backend.close()
    assert.isFalse(backend.isRunning)
    assert.deepStrictEqual((await memory.inventory()).sandboxes, [])
  })

  it("returns both outputs in their order, and the exit code", () =>
    inBackend(async (backend) => {
      const { exitCode, output, truncated } = await backend.execute("pwd; echo err >&2; echo out; exit 3")
      assert.deepStrictEqual([exitCode, output, truncated], [3, "/work\nerr\nout\n", false])
      assert.strictEqual((await backend.execute("kill -9 $$")).exitCode, 137)
      assert.strictEqual((await backend.execute("no-such-program")).exitCode, 127)
      assert.strictEqual((await backend.execute("echo 'it'\\''s' \"$((1 + 1))\"")).output, "it's 2\n")
    }))

  it("truncates long output, and does not end the command for it", () =>
    inBackend(
      async (backend) => {
        const out = await backend.execute("printf 12345; printf 67890; echo done > /done")
        assert.deepStrictEqual(out, { output: "12345678", exitCode: 0, truncated: true })
        assert.match(String((await backend.read("/done")).content), /done/)
        assert.isFalse((await backend.execute("printf 12345678")).truncated)
      },
      { maxOutput: 8 }
    ))

  it("kills a command at the time limit", () =>
    inBackend(
      async (backend) => {
        const { exitCode, output } = await backend.execute("sleep 1000")
        assert.strictEqual(exitCode, 124)
        assert.include(output, "killed after 50 ms")
      },
      { timeoutMs: 50 }
    ))

  it("moves several files, each with its own outcome", () =>
    inBackend(async (backend, sandbox) => {
      await sandbox.fs().mkdir("/work/folder")
      assert.deepStrictEqual(
        await backend.uploadFiles([
          ["a/b.bin", Uint8Array.of(0, 255)],
          ["/work/folder", bytes("x")],
          ["/work/a/b.bin/c", bytes("x")],
          ["/bad\0name", bytes("x")]
        ]),
        [
          { path: "a/b.bin", error: null },
          { path: "/work/folder", error: "is_directory" },
          { path: "/work/a/b.bin/c", error: "invalid_path" },
          { path: "/bad\0name", error: "invalid_path" }
        ]
      )
      const downloaded = await backend.downloadFiles(["/work/a/b.bin", "/work/absent", "/work/folder"])
      assert.deepStrictEqual(
        downloaded.map(({ content, error }) => [content && [...content], error]),
        [
          [[0, 255], null],
          [null, "file_not_found"],
          [null, "is_directory"]
        ]
      )
      assert.deepStrictEqual(await backend.uploadFiles([]), [])
      assert.deepStrictEqual(await backend.downloadFiles([]), [])
    }))

  it("lists a link as what it points to, a broken one as a file, and a file as nothing", () =>
    inBackend(async (backend, sandbox) => {
      await backend.write("folder/file.txt", "12345")
      await sandbox.fs().symlink("folder", "/work/to-folder")
      await sandbox.fs().symlink("absent", "/work/broken")
      const { files = [] } = await backend.ls("/work")
      assert.deepStrictEqual(
        files.map(({ is_dir, path }) => [path, is_dir]),
        [
          ["/work/broken", false],
          ["/work/folder/", true],
          ["/work/to-folder/", true]
        ]
      )
      assert.deepStrictEqual(await backend.ls("/work/folder/file.txt"), { files: [] })
    }))

  it("edits text in UTF-8 only, and leaves other files as they are", () =>
    inBackend(async (backend) => {
      const content = new Uint8Array([0xe9, 0x20, 0x61, 0x0a])
      await backend.uploadFiles([["/work/latin", content]])
      assert.match(String((await backend.edit("/work/latin", "a", "b")).error), /not text in UTF-8/)
      assert.deepStrictEqual((await backend.downloadFiles(["/work/latin"]))[0]?.content, content)
    }))

  it("lists a folder with a link to itself, and searches below /run if told to", () =>
    inBackend(async (backend) => {
      await backend.execute("ln -s loop loop; mkdir -p /run/app; echo found > /run/app/state.txt")
      assert.deepStrictEqual(
        (await backend.ls("/work")).files?.map(({ path }) => path),
        ["/work/loop"]
      )
      assert.deepStrictEqual((await backend.grep("found", "/run/app")).matches, [
        { path: "/run/app/state.txt", line: 1, text: "found" }
      ])
    }))

  it("does not follow links in a search, and deletes them without their targets", () =>
    inBackend(async (backend, sandbox) => {
      await backend.write("folder/file.txt", "needle")
      await sandbox.fs().symlink("/work", "/work/folder/loop")
      assert.deepStrictEqual((await backend.grep("needle")).matches, [
        { path: "/work/folder/file.txt", line: 1, text: "needle" }
      ])
      const { files = [] } = await backend.glob("**/*")
      assert.deepStrictEqual(
        files.map(({ path }) => path),
        ["folder", "folder/file.txt", "folder/loop"]
      )
      assert.strictEqual((await backend.delete("folder/loop")).error, undefined)
      assert.match(String((await backend.read("folder/file.txt")).content), /needle/)
    }))

  it("searches the whole guest without files of the kernel, and skips binary files", () =>
    inBackend(async (backend) => {
      await backend.uploadFiles([["/opt/x.txt", bytes("unusual needle")]])
      await backend.uploadFiles([["/opt/y.txt", bytes("unusual needle\0")]])
      await backend.uploadFiles([["/opt/z.png", bytes("unusual needle")]])
      const { matches, truncated } = await backend.grep("unusual needle", "/")
      assert.deepStrictEqual(matches, [{ path: "/opt/x.txt", line: 1, text: "unusual needle" }])
      assert.isUndefined(truncated)
    }))

  it("rejects when the sandbox has ended", async () => {
    const sandbox = await Lightbox.launchSandbox({ image: "busybox" })
    const backend = await sandboxBackend(sandbox)
    await sandbox.kill()
    await rejection(backend.read("/etc/hostname"))
    await rejection(backend.uploadFiles([["/x", bytes("x")]]))
    await rejection(backend.execute("true"))
    await backend.close()
  })
})

describe("globPattern", () => {
  it.each([
    ["*.ts", ["a.ts", ".ts"], ["a.tsx", "x/a.ts", "ats"]],
    ["**/*.ts", ["a.ts", "x/a.ts", "x/y/a.ts"], ["a.js"]],
    ["src/**", ["src/a", "src/x/a"], ["src", "lib/a"]],
    ["a?c", ["abc"], ["ac", "a/c"]],
    ["[!a]*", ["b", "bc"], ["a", "ab"]],
    ["[a-c].x", ["b.x"], ["d.x"]],
    ["[]].x", ["].x"], ["a.x"]],
    ["*.{ts,js}", ["a.ts", "a.js"], ["a.rs"]],
    ["a+(b)|c$.^", ["a+(b)|c$.^"], ["ab"]],
    ["[z-a]", ["[z-a]"], ["z"]],
    ["{a", ["{a"], ["a"]],
    ["[a", ["[a"], ["a"]],
    ["{a,{b,c", ["{a,{b,c"], ["a"]],
    ["{a,{b,c}d}e", ["ae", "bde", "cde"], ["ade", "be"]],
    ["*a*a*a*a*a*a*a*b", ["aaaaaaab"], ["a".repeat(200)]],
    ["**/**/**/**/**/**/**/**/x", ["x", "a/x"], ["a/".repeat(100)]],
    ["", [""], ["a"]]
  ] as const)("%s", (pattern, matching, others) => {
    assert.deepStrictEqual(
      matching.filter((path) => !globPattern(pattern)(path)),
      []
    )
    assert.deepStrictEqual(
      others.filter((path) => globPattern(pattern)(path)),
      []
    )
  })
})

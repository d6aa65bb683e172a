/** Differences between disks. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import { Unknown } from "../../src/LightboxError.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { turn } from "../support.ts"
import * as Support from "./support.ts"

const { image, test } = Support

const before = Snapshot.make("app", image).pipe(
  Snapshot.shell(
    [
      "mkdir -p /data/kept /data/gone/deep /data/replaced /var/lib",
      "echo same > /data/kept/same; echo one > /data/kept/content; echo one > /data/kept/size",
      "echo mode > /data/kept/mode; echo owner > /data/kept/owner; ln -s one /data/kept/link",
      "echo gone > /data/gone/deep/file; echo in > /data/replaced/file; touch '/data/kept/a\nline'"
    ].join("\n")
  ),
  Snapshot.write("/data/kept/large", "x".repeat(1024 * 1024 + 1))
)

const after = before.pipe(
  Snapshot.shell(
    [
      "echo same > /data/kept/same; echo two > /data/kept/content; echo three > /data/kept/size",
      "chmod 600 /data/kept/mode; chown 7:8 /data/kept/owner",
      "rm -rf /data/kept/link /data/gone /data/replaced '/data/kept/a\nline'; ln -s two /data/kept/link",
      "echo file > /data/replaced; mkdir -p /data/new/deep; echo new > /data/new/deep/file",
      "mkdir -p /var/lib/lightbox/jobs/web; echo own > /var/lib/lightbox/jobs/web/job",
      "touch /data/kept/large"
    ].join("\n")
  )
)

/** One line per difference. */
const lines = ({ differences }: Snapshot.Diff) =>
  differences.map(({ before, changes, kind, path, size, type }) =>
    [
      kind,
      path,
      type,
      ...(type === "File" ? [size] : []),
      ...(before === undefined || before.size === size ? [] : [`was ${before.size}`]),
      ...changes
    ].join(" ")
  )

const expected = [
  "removed /data/gone Directory",
  "removed /data/gone/deep Directory",
  "removed /data/gone/deep/file File 5",
  "removed /data/kept/a\nline File 0",
  "changed /data/kept/content File 4 content",
  "changed /data/kept/large File 1048577 time",
  "changed /data/kept/link SymbolicLink target",
  "changed /data/kept/mode File 5 mode",
  "changed /data/kept/owner File 6 owner",
  "changed /data/kept/size File 6 was 4 size",
  "added /data/new Directory",
  "added /data/new/deep Directory",
  "added /data/new/deep/file File 4",
  "changed /data/replaced File 5 was 0 type",
  "removed /data/replaced/file File 3"
]

const built = Effect.andThen(
  Snapshot.build(before),
  Effect.andThen(TestClock.adjust("1 minute"), Snapshot.build(after))
)

describe("a diff", () => {
  test(
    "names what was added, changed and removed between generations, in either direction",
    Effect.gen(function* () {
      yield* built
      const found = yield* Snapshot.diff("app@1", "app")
      assert.isTrue(found.isComplete)
      assert.deepStrictEqual(lines(found), expected)
      assert.deepStrictEqual(lines(yield* Snapshot.diff("app@2", "app")), [])
      const back = yield* Snapshot.diff(yield* Snapshot.get("app"), "app@1")
      assert.deepStrictEqual(
        back.differences.filter(({ kind }) => kind === "added").map(({ path }) => path),
        found.differences.filter(({ kind }) => kind === "removed").map(({ path }) => path)
      )
    })
  )

  test(
    "compares a running sandbox, without its mounts and what is in memory",
    Effect.gen(function* () {
      yield* built
      const sandbox = yield* Sandbox.launch({ snapshot: "app", mounts: { "/volume": { volume: "data" } } })
      yield* sandbox.shell(
        "echo x > /tmp/x; echo x > /run/x; echo x > /dev/shm/x; echo x > /volume/x; echo x > /root/x",
        {
          check: true
        }
      )
      assert.deepStrictEqual(lines(yield* Snapshot.diff("app", sandbox)), ["added /root/x File 2"])
    })
  )

  test(
    "is bounded, and says so",
    Effect.gen(function* () {
      yield* built
      const some = yield* Snapshot.diff("app@1", "app", { limit: 3 })
      assert.deepStrictEqual([some.isComplete, some.differences.length], [false, 3])
      const all = yield* Snapshot.diff("app@1", "app", { limit: expected.length })
      assert.deepStrictEqual([all.isComplete, all.differences.length], [true, expected.length])
    })
  )

  test(
    "compares a folder of very many files",
    Effect.gen(function* () {
      const [empty, full] = yield* Effect.all([Sandbox.launch({ image }), Sandbox.launch({ image })])
      yield* full.makeDirectory("/many")
      yield* full.writeFile("/many/0", new Uint8Array())
      const { readDirectoryEntries } = full.guest
      // As if there were many of the one file.
      const listing = (path: string) =>
        Effect.map(readDirectoryEntries(path), (all) =>
          path === "/many"
            ? Array.from({ length: 200_000 }).flatMap((_, index) =>
                all.map((info) => ({ ...info, path: `/many/${index}` }))
              )
            : all
        )
      const guest = { ...full.guest, readDirectoryEntries: listing }
      const { differences } = yield* Snapshot.diff(empty, { ...full, guest }, { limit: 1_000_000 })
      assert.strictEqual(differences.length, 200_001)
    })
  )

  test(
    "fails for what does not exist or does not run",
    Effect.gen(function* () {
      yield* built
      const tagOf = (before: Snapshot.DiffSource, after: Snapshot.DiffSource) =>
        Effect.map(Effect.flip(Snapshot.diff(before, after)), ({ method, reason }) => [method, reason._tag])
      assert.deepStrictEqual(yield* tagOf("app@9", "app"), ["Snapshot.diff", "NotFound"])
      assert.strictEqual((yield* tagOf("app", "other"))[1], "NotFound")
      const sandbox = yield* Sandbox.launch({ snapshot: "app" })
      yield* sandbox.stop()
      assert.strictEqual((yield* tagOf("app", sandbox))[1], "GuestLost")
    })
  )

  test(
    "leaves nothing when a boot, a listing or the content of a file fails, or when it is interrupted",
    Effect.gen(function* () {
      yield* built
      const control = yield* MicrosandboxMemory.Control
      const reason = new Unknown({ problem: "as the test wants it" })
      for (const [operation, nth] of [
        ["createSandbox", 2],
        ["connect", 1],
        ["guest.open", 1],
        ["guest.readDirectoryEntries", 1],
        ["guest.readDirectoryEntries", 9],
        ["guest.readLink", 1]
      ] as const) {
        yield* control.inject(MicrosandboxMemory.failAt(operation, reason, { nth }))
        const error = yield* Effect.flip(Snapshot.diff("app@1", "app"))
        assert.strictEqual(error.reason._tag, "Unknown", operation)
        yield* control.clearFaults
        yield* Support.assertNothingRuns
      }
      yield* control.inject(MicrosandboxMemory.hangAt("guest.readDirectoryEntries", { nth: 5 }))
      const { length } = yield* control.calls
      const fiber = yield* Effect.forkChild(Snapshot.diff("app@1", "app"))
      yield* turn.pipe(
        Effect.andThen(control.calls),
        Effect.repeat({
          until: (calls) =>
            calls.slice(length).filter(({ operation }) => operation === "guest.readDirectoryEntries").length >= 5
        })
      )
      yield* Fiber.interrupt(fiber)
      yield* Support.assertNothingRuns
    })
  )
})

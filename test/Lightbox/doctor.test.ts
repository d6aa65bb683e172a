/** What the doctor finds on unhealthy machines. */
import { assert, describe, it, vi } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import FsModule, * as Fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import * as Path from "node:path"
import * as Owner from "../../src/internal/ownership/owner.ts"
import * as Lightbox from "../../src/Lightbox.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import { temporary } from "../support.ts"

const findings = (home: string) =>
  Effect.map(Lightbox.doctor({ home }), (diagnosis) => ({
    ...diagnosis,
    of: (topic: Lightbox.Finding["topic"]) => diagnosis.findings.find((finding) => finding.topic === topic)
  }))

describe("the doctor", () => {
  it.effect("checks everything without creating a missing home", () =>
    Effect.gen(function* () {
      const home = Path.join(yield* temporary, "not", "there")
      const { findings: all, isHealthy, of } = yield* findings(home)
      assert.isFalse(Fs.existsSync(Path.dirname(home)))
      for (const topic of [
        "node",
        "platform",
        "virtualization",
        "home",
        "disk",
        "copies",
        "attributes",
        "memory",
        "runtime"
      ] as const) {
        assert.isDefined(of(topic), topic)
      }
      assert.strictEqual(of("node")?.status, "ok")
      assert.deepInclude(of("home"), { status: "ok", found: `${home} (will be created)` })
      assert.strictEqual(
        isHealthy,
        all.every(({ status }) => status !== "problem")
      )
      // Every finding that is not ok says what to do.
      for (const { remedy, status, topic } of all) {
        if (status !== "ok") assert.isNotEmpty(remedy, topic)
      }
      const copies = of("copies")
      if (copies?.status === "warning" && process.platform === "linux") {
        assert.include(copies.remedy, `mount -o loop /var/lib/lightbox.xfs ${home}`)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("warns of a home without extended attributes", () =>
    Effect.gen(function* () {
      // NFS.
      vi.spyOn(FsModule, "statfsSync").mockReturnValue(Object.assign(Fs.statfsSync("/"), { type: 0x6969 }))
      syncBuiltinESMExports()
      const home = yield* temporary
      const { of } = yield* findings(home)
      assert.deepInclude(of("attributes"), {
        status: "warning",
        found: `the file system of ${home} may not take extended attributes of users`
      })
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          vi.restoreAllMocks()
          syncBuiltinESMExports()
        })
      ),
      Effect.scoped
    )
  )

  it.effect("reports a home that is a file", () =>
    Effect.gen(function* () {
      const home = Path.join(yield* temporary, "file")
      Fs.writeFileSync(home, "")
      const { isHealthy, of } = yield* findings(home)
      assert.isFalse(isHealthy)
      assert.deepInclude(of("home"), { status: "problem" })
    }).pipe(Effect.scoped)
  )

  it.effect("leaves nothing behind where it checks", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      const before = Fs.readdirSync(Path.dirname(home)).filter((name) => name.startsWith(".lightbox-"))
      yield* findings(Path.join(home, "inside"))
      assert.deepStrictEqual(Fs.readdirSync(home), [])
      assert.deepStrictEqual(
        Fs.readdirSync(Path.dirname(home)).filter((name) => name.startsWith(".lightbox-")),
        before
      )
    }).pipe(Effect.scoped)
  )

  it.effect("creates nothing in an empty home, and does not claim the home for the process", () =>
    Effect.gen(function* () {
      const environment = process.env["MSB_HOME"]
      const home = yield* temporary
      yield* findings(home)
      assert.deepStrictEqual(Fs.readdirSync(home), [])
      assert.strictEqual(process.env["MSB_HOME"], environment)
      const other = yield* temporary
      const { home: used } = Context.get(
        yield* Layer.build(MicrosandboxLocal.layer({ home: other })),
        Microsandbox.Microsandbox
      )
      assert.strictEqual(used, other)
    }).pipe(Effect.scoped)
  )

  it.live(
    "counts what dead processes have left",
    () =>
      Effect.gen(function* () {
        const home = yield* temporary
        yield* Effect.scoped(
          Effect.flatMap(Layer.build(MicrosandboxLocal.layer({ home })), (services) =>
            Context.get(services, Microsandbox.Microsandbox).listSandboxes()
          )
        )
        const counted = Effect.map(findings(home), ({ of }) => of("leftovers"))
        assert.deepInclude(yield* counted, { status: "ok" })
        for (const count of ["1 resource", "2 resources"]) {
          // It stays, like the note of a killed process.
          yield* Effect.scoped(
            Effect.flatMap(Owner.make(home), (owner) => owner.note({ kind: "sandbox", token: count, name: "worker" }))
          )
          assert.deepInclude(yield* counted, { status: "warning", found: `dead processes left ${count} behind` })
        }
      }).pipe(Effect.scoped),
    120_000
  )

  it.effect("rejects a home whose path is too long for a socket", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Lightbox.doctor({ home: `/tmp/${"x".repeat(200)}` }))
      assert.deepInclude(error.reason, { _tag: "InvalidConfig", field: "home" })
    })
  )

  it("prints one finding per line, with its remedy below", () => {
    const text = Lightbox.formatDiagnosis({
      isHealthy: false,
      findings: [
        { topic: "node", status: "ok", found: "Node.js 24", remedy: undefined },
        { topic: "disk", status: "warning", found: "1 MiB is free", remedy: "make room" },
        { topic: "home", status: "problem", found: "it is a file", remedy: "take another" }
      ]
    })
    assert.strictEqual(
      text,
      [
        "ok       node            Node.js 24",
        "warning  disk            1 MiB is free",
        "                   make room",
        "PROBLEM  home            it is a file",
        "                   take another"
      ].join("\n")
    )
  })
})

/** Jobs on real microVMs: crashes of clients, restarts of guests, full disks and much output. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Debian from "../images/Debian.ts"
import * as Support from "../microvm/support.ts"
import { read } from "../Microsandbox/jobs.ts"
import { isEmulated } from "../support.ts"

// An emulated guest writes half a mebibyte in a second.
const mebibytes = isEmulated ? 16 : 100

/** Fills the root disk to the last block, and says how. */
const fill = "dd if=/dev/zero of=/fill bs=1M; dd if=/dev/zero of=/fill2 bs=512; rm -f /none; true"

layer(Support.layer, { excludeTestServices: true })("jobs", (it) => {
  it.layer(Sandbox.layer({ name: "jobs", image: Support.image }))("in one sandbox", (it) => {
    it.effect("a killed client loses nothing, and another goes on where it was", () =>
      Effect.gen(function* () {
        const sandbox = yield* Sandbox.Sandbox
        const script = "i=0; while [ $i -lt 200 ]; do i=$((i + 1)); echo $i; sleep 0.02; done"
        const client = yield* Support.program("job", "jobs", "counted", script)
        const seen = yield* client.stdout.pipe(
          Stream.decodeText,
          Stream.scan(
            () => "",
            (all, text: string) => all + text
          ),
          Stream.takeUntil((all) => all.includes("\n5\n")),
          Stream.runLast
        )
        yield* client.kill({ killSignal: "SIGKILL" })
        const before = seen._tag === "Some" ? seen.value : ""
        const job = yield* sandbox.job("counted")
        assert.deepStrictEqual(yield* job.status, { _tag: "Running" })
        const since = Buffer.byteLength(before)
        const { missing, text } = yield* read(job.logs({ follow: true, since }), since)
        const expected = Array.from({ length: 200 }, (_, index) => `${index + 1}\n`).join("")
        assert.deepStrictEqual([before + text, missing], [expected, []])
        assert.deepStrictEqual(yield* job.wait, { _tag: "Exited", exitCode: 0 })
      }).pipe(Effect.scoped)
    )

    it.effect(`${mebibytes} MiB of output take the space of the limit`, () =>
      Effect.gen(function* () {
        const sandbox = yield* Sandbox.Sandbox
        const size = mebibytes * 1024 * 1024
        const job = yield* sandbox.start("sh", ["-c", `head -c ${size} /dev/zero; echo end`], { maxLog: "4M" })
        assert.deepStrictEqual(yield* job.wait, { _tag: "Exited", exitCode: 0 })
        const { end, missing, text } = yield* read(job.logs())
        assert.strictEqual(end, size + 4)
        assert.strictEqual(missing.length, 1)
        assert.isTrue(text.length <= 4 * 1024 * 1024 && text.endsWith("\0end\n"), `kept ${text.length}`)
      })
    )
  })

  it.effect("a job is lost after a restart of its guest, with the output until then", () =>
    Effect.gen(function* () {
      yield* Sandbox.run({ name: "restarted", image: Support.image, detached: true }, (sandbox) =>
        Effect.gen(function* () {
          const job = yield* sandbox.start("sh", ["-c", "echo before; exec sleep 1000"], { id: "lost" })
          yield* Stream.runDrain(Stream.take(job.logs({ follow: true }), 1))
          yield* Effect.flatMap(sandbox.start("sh", ["-c", "exit 7"], { id: "ended" }), ({ wait }) => wait)
          yield* sandbox.exec("sync")
        })
      )
      const sandbox = yield* Sandbox.restart("restarted", { detached: true })
      const found = (yield* sandbox.jobs).map(({ id, status }) => [id, status])
      assert.deepStrictEqual(found, [
        ["lost", { _tag: "Lost" }],
        ["ended", { _tag: "Exited", exitCode: 7 }]
      ])
      const job = yield* sandbox.job("lost")
      assert.strictEqual((yield* read(job.logs({ follow: true }))).text, "before\n")
      assert.deepStrictEqual(yield* job.wait, { _tag: "Lost" })
      yield* Sandbox.remove("restarted", { force: true })
      yield* Support.assertNothingLeft()
    }).pipe(Effect.scoped)
  )

  it.effect("a full disk costs output, but no end of a job, and no start goes unnoticed", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({
        name: "full",
        image: Support.image,
        resources: { disk: "256M" }
      })
      const script = "echo before; read -r x; head -c 1000000 /dev/zero; read -r x; echo after; exit 6"
      const job = yield* sandbox.start("sh", ["-c", script], { stdin: "open" })
      yield* Stream.runDrain(Stream.take(job.logs({ follow: true }), 1))
      yield* sandbox.shell(fill)
      const error = yield* Effect.flip(sandbox.start("true"))
      assert.deepInclude(error.reason, { _tag: "FileError", code: "ENOSPC" })
      yield* job.write("go\n")
      yield* sandbox
        .shell(`ls /var/lib/lightbox/jobs/${job.id}`)
        .pipe(
          Effect.repeat({ until: ({ stdout }) => stdout.includes("gap."), schedule: Schedule.spaced("100 millis") })
        )
      yield* sandbox.shell("rm /fill /fill2")
      yield* job.write("go\n")
      assert.deepStrictEqual(yield* job.wait, { _tag: "Exited", exitCode: 6 })
      const { missing, text } = yield* read(job.logs())
      assert.isTrue(text.startsWith("before\n") && missing.includes(0), JSON.stringify(missing))
      yield* sandbox.shell(fill)
      yield* job.remove()
    }).pipe(Effect.scoped)
  )

  it.effect("jobs run on Debian", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ name: "debian", image: Debian.reference })
      const job = yield* sandbox.start("sh", ["-c", "cat; echo err >&2; kill -TERM $$"], { stdin: "open" })
      yield* job.write("fed\n")
      yield* job.endInput
      assert.deepStrictEqual(yield* job.wait, { _tag: "Signaled", signal: "SIGTERM" })
      assert.strictEqual((yield* read(job.logs())).text, "fed\nerr\n")
      const held = yield* sandbox.start("sh", ["-c", "trap '' TERM; sleep 1000 & wait"])
      yield* held.signal("SIGKILL")
      assert.deepStrictEqual(yield* held.wait, { _tag: "Signaled", signal: "SIGKILL" })
      const much = yield* sandbox.start("sh", ["-c", "head -c 1000000 /dev/zero; exit 137"], { maxLog: "256K" })
      assert.deepStrictEqual(yield* much.wait, { _tag: "Exited", exitCode: 137 })
      assert.strictEqual((yield* read(much.logs())).end, 1_000_000)
    }).pipe(Effect.scoped)
  )
})

/** The power fails at many moments of the work. Afterwards one sweep finds everything, and names boot. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Fs from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { vi } from "vitest"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { auditHome, prepare } from "./audit.ts"
import { parts } from "./work.ts"

const program = fileURLToPath(new URL("programs/power.ts", import.meta.url))

const run = Effect.fnUntraced(function* (command: string, ...args: ReadonlyArray<string>) {
  const child = yield* ChildProcess.make(command, args, { stdout: "ignore", stderr: "inherit" })
  assert.strictEqual(Number(yield* child.exitCode), 0, [command, ...args].join(" "))
}, Effect.scoped)

const onHome = <A, E, R>(home: string, effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, Layer.fresh(MicrosandboxMemory.layer({ home, sweep: false, memorySnapshots: true })))

/** Every how many changes the power fails. */
const every = process.env["LIGHTBOX_POWER_EVERY"] ?? "3"

layer(NodeServices.layer, { excludeTestServices: true })("a power cut", (it) => {
  it.effect.each(Object.keys(parts))(
    "during %s leaves only names that boot, and nothing that one sweep cannot remove",
    (part) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        // Holds sockets, whose paths must be short.
        const root = yield* fs.makeTempDirectoryScoped({ prefix: "p" })
        const [device, disk, cuts] = [`${root}/device`, `${root}/disk`, `${root}/cuts`]
        const [home, files] = [`${disk}/home`, `${disk}/files`]
        yield* fs.makeDirectory(disk)
        yield* fs.makeDirectory(cuts)
        const mounted = (image: string) =>
          Effect.acquireRelease(run("mount", "-o", "loop", image, disk), () => Effect.orDie(run("umount", disk)))

        yield* run("truncate", "--size=64M", device)
        yield* run("mkfs.ext4", "-q", "-F", device)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* mounted(device)
            yield* fs.makeDirectory(files)
            yield* onHome(home, prepare("main", "plain"))
            yield* run("sync")
            yield* run(process.execPath, program, part, home, files, device, cuts, every)
          })
        )

        // Later than every grace period for what has just started.
        const now = Date.now
        vi.spyOn(Date, "now").mockImplementation(() => now() + 60_000)
        yield* Effect.addFinalizer(() => Effect.sync(() => vi.restoreAllMocks()))
        const instants = yield* fs.readDirectory(cuts)
        assert.isAbove(instants.length, 3)
        yield* Console.log(`${part}: the power failed at ${instants.length} instants`)
        for (const instant of instants) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* mounted(`${cuts}/${instant}`)
              const audit = Effect.gen(function* () {
                const report = yield* Reaper.sweep()
                assert.isTrue(report.isComplete, instant)
                assert.deepStrictEqual(
                  report.verdicts.filter(({ verdict }) => verdict === "failed"),
                  [],
                  instant
                )
                yield* auditHome(instant, "main", files)
              })
              yield* onHome(home, audit)
            })
          )
        }
      }),
    240_000
  )
})

layer(NodeServices.layer, { excludeTestServices: true })("a full disk", (it) => {
  it.effect(
    "fails what needs space with a typed error, and lets prune and remove free space",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const root = yield* fs.makeTempDirectoryScoped({ prefix: "f" })
        yield* Effect.acquireRelease(run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", root), () =>
          Effect.orDie(run("umount", root))
        )
        const home = `${root}/home`
        const version = (content: string) =>
          Snapshot.make("app", "plain").pipe(Snapshot.shell(`echo ${content} > /root/version`))
        const free = Effect.promise(async () => {
          const { bavail, bsize } = await Fs.statfs(root)
          return bavail * bsize
        })
        const generations = Effect.map(onHome(home, Snapshot.generations("app")), (all) =>
          all.map(({ generation }) => generation)
        )
        yield* onHome(
          home,
          Effect.gen(function* () {
            yield* Snapshot.build(version("one"))
            yield* Snapshot.save("app", `${root}/saved`)
            yield* Snapshot.load(`${root}/saved`, { name: "loaded" })
            yield* Snapshot.build(version("two").pipe(Snapshot.shell("echo more > /root/more")), {
              checkpoints: "every-step"
            })
          })
        )
        yield* Effect.exit(fs.writeFile(`${root}/fill`, new Uint8Array(8 * 1024 * 1024)))
        assert.strictEqual(yield* free, 0)
        // Each as in a new process: without an owner's lease taken while there was room.
        const full = yield* Effect.flip(onHome(home, Snapshot.build(version("three"))))
        assert.strictEqual(full.reason._tag, "NoSpace")
        const rolledBack = yield* Effect.flip(onHome(home, Snapshot.rollback("app")))
        assert.strictEqual(rolledBack.reason._tag, "NoSpace")
        assert.deepStrictEqual(yield* generations, [1, 2])
        yield* onHome(home, Snapshot.prune({ keep: 1 }))
        assert.deepStrictEqual(yield* generations, [2])
        const pruned = yield* free
        assert.isAbove(pruned, 0)
        yield* fs.writeFile(`${root}/more`, new Uint8Array(pruned))
        yield* onHome(home, Snapshot.remove("loaded"))
        assert.isAbove(yield* free, 0)
        assert.deepStrictEqual(
          yield* onHome(
            home,
            Effect.map(Snapshot.list(), (all) => all.map(({ name }) => name))
          ),
          ["app"]
        )
      }),
    60_000
  )
})

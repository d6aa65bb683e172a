/** The test host, tried on a machine without hardware virtualisation: `npx vitest run test/host/host.test.ts` */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import { fileURLToPath } from "node:url"
import * as Busybox from "../images/Busybox.ts"
import * as Cache from "./Cache.ts"

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** What is in a folder: nothing if it isn't there yet. */
const entries = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  return yield* Effect.orElseSucceed(fs.readDirectory(folder), (): Array<string> => [])
})

/** Folders of this test run, so that nothing of other runs is in them, and the marks of sockets that others left. */
class Folders extends Context.Service<
  Folders,
  { readonly cache: string; readonly out: string; readonly foreign: ReadonlySet<string> }
>()("effect-lightbox/test/host/host.test/Folders") {
  static readonly layer = Layer.effect(
    Folders,
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const folder = yield* fs.makeTempDirectoryScoped()
      const out = path.join(folder, "out of\nthe 'host'")
      yield* fs.makeDirectory(out)
      return { cache: path.join(folder, "cache"), out, foreign: new Set(yield* entries(Cache.sockets)) }
    })
  )
}

interface Options {
  readonly flags?: ReadonlyArray<string>
  readonly env?: Record<string, string>
  readonly cwd?: string
}

/** Starts the host with a command. */
const start = Effect.fnUntraced(function* (command: ReadonlyArray<string>, options: Options = {}) {
  const { cache, out } = yield* Folders
  return yield* ChildProcess.make(process.execPath, [file("run.ts"), ...(options.flags ?? []), "--", ...command], {
    stdin: "ignore",
    env: { XDG_CACHE_HOME: cache, LIGHTBOX_OUT: out, ...options.env },
    extendEnv: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd })
  })
})

const text = (stream: ChildProcessHandle["stdout"]) => Stream.mkString(Stream.decodeText(stream))

const outcome = (host: ChildProcessHandle) =>
  Effect.all(
    { stdout: text(host.stdout), stderr: text(host.stderr), status: host.exitCode },
    { concurrency: "unbounded" }
  )

/** Runs a command to its end. */
const run = Effect.fnUntraced(function* (command: ReadonlyArray<string>, options?: Options) {
  return yield* outcome(yield* start(command, options))
}, Effect.scoped)

/** Starts a shell script in the host, waits until it has said "started", and then does something to the host. */
const disturb = Effect.fnUntraced(function* <A, E, R>(
  script: string,
  disturbance: (host: ChildProcessHandle) => Effect.Effect<A, E, R>,
  flags: ReadonlyArray<string> = []
) {
  const host = yield* start(["sh", "-c", script], { flags })
  const started = yield* Deferred.make<void>()
  const stdout = yield* text(Stream.tap(host.stdout, () => Deferred.succeed(started, undefined))).pipe(Effect.forkChild)
  const stderr = yield* Effect.forkChild(text(host.stderr))
  yield* Effect.raceFirst(Deferred.await(started), host.exitCode)
  yield* disturbance(host)
  const status = yield* Effect.orElseSucceed(host.exitCode, () => undefined)
  return { stdout: yield* Fiber.join(stdout), stderr: yield* Fiber.join(stderr), status }
}, Effect.scoped)

/** What is still there of the hosts of this test run: processes, folders and marks of sockets. */
const remains = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const { cache, foreign } = yield* Folders
  const runs = path.join(cache, "effect-lightbox/runs")
  const processes = yield* Effect.forEach(
    (yield* fs.readDirectory("/proc")).filter((name) => /^\d+$/.test(name)),
    (pid) =>
      Effect.all([fs.readLink(`/proc/${pid}/cwd`), fs.readFileString(`/proc/${pid}/cmdline`)]).pipe(
        Effect.map((about) => (about.some((item) => item.includes(runs)) ? [`${pid}: ${about.join(" ")}`] : [])),
        // It ended meanwhile.
        Effect.orElseSucceed(() => [])
      )
  )
  const folders = yield* entries(runs)
  const marks = yield* Effect.filter(yield* entries(Cache.sockets), (name) => {
    const pid = /^lightbox-(\d+)-/.exec(name)?.[1]
    return pid === undefined || foreign.has(name)
      ? Effect.succeed(false)
      : Effect.map(fs.exists(`/proc/${pid}`), (alive) => !alive)
  })
  return [...processes.flat(), ...folders, ...marks]
})

/** Nothing remains; the janitor may take a moment when nobody waits for it. */
const assertGone = remains.pipe(
  Effect.repeat({ until: (found) => found.length === 0, schedule: Schedule.spaced("50 millis") }),
  Effect.timeoutOption("5 seconds"),
  Effect.andThen(remains),
  Effect.map((found) => assert.deepStrictEqual(found, []))
)

/** Sends a signal to the only emulator that runs in a folder of this test run. */
const signalEmulator = Effect.fnUntraced(function* (signal: NodeJS.Signals) {
  const found = (yield* remains).filter((item) => item.includes("qemu-system-x86_64"))
  yield* Effect.forEach(found, (item) => Effect.sync(() => process.kill(Number.parseInt(item, 10), signal)))
})

layer(Folders.layer.pipe(Layer.provideMerge(NodeServices.layer)), { excludeTestServices: true, timeout: 120_000 })(
  "emulated host",
  (it) => {
    const test = <E>(name: string, body: () => Effect.Effect<unknown, E, Folders | NodeServices.NodeServices>) =>
      it.effect(name, () => Effect.andThen(body(), assertGone), 600_000)

    test("passes on the exit status and each stream separately", () =>
      Effect.gen(function* () {
        const result = yield* run(["sh", "-c", "printf 'out\\r\\n'; printf 'err' >&2; exit 7"])
        assert.strictEqual(result.status, 7)
        assert.strictEqual(result.stdout, "out\r\n")
        assert.match(
          result.stderr,
          /host: emulated, cpus \d+, memory \d+ MiB, ext4, images busybox \(loaded\)\n(.*\n)*err$/
        )
      }))

    test("reports death by a signal, and a missing program", () =>
      Effect.gen(function* () {
        assert.strictEqual((yield* run(["sh", "-c", "kill -9 $$"])).status, 137)
        const result = yield* run(["/no/such program"])
        assert.strictEqual(result.status, 127)
        assert.include(result.stderr, "/no/such program")
      }))

    test("does not wait for background processes", () =>
      Effect.gen(function* () {
        const result = yield* run(["sh", "-c", "sleep 1000 & setsid sleep 1000 & echo done"])
        assert.deepStrictEqual([result.status, result.stdout], [0, "done\n"])
      }))

    test("passes on 20 MB unchanged, on both streams at once", () =>
      Effect.gen(function* () {
        const host = yield* start([
          "sh",
          "-c",
          'head -c 20000000 /dev/urandom >"$TMPDIR/data"; sha256sum <"$TMPDIR/data" >"$LIGHTBOX_OUT/sum"; ' +
            'cat "$TMPDIR/data" & cat "$TMPDIR/data" >&2; wait'
        ])
        const sum = (stream: typeof host.stdout) =>
          Stream.runFold(
            stream,
            () => ({ length: 0, hash: Crypto.createHash("sha256") }),
            ({ hash, length }, bytes) => ({ length: length + bytes.length, hash: hash.update(bytes) })
          )
        // The host's own line comes before the command's first byte.
        const own = yield* Deferred.make<void>()
        const [stdout, stderr] = yield* Effect.all(
          [
            sum(host.stdout),
            host.stderr.pipe(
              Stream.mapAccum(
                () => false,
                (seen, bytes) => {
                  const end = seen ? 0 : bytes.indexOf(10) + 1
                  return [seen || end > 0, seen || end > 0 ? [bytes.subarray(end)] : []]
                }
              ),
              Stream.tap(() => Deferred.succeed(own, undefined)),
              sum
            )
          ],
          { concurrency: "unbounded" }
        )
        const fs = yield* FileSystem.FileSystem
        const expected = (yield* fs.readFileString(`${(yield* Folders).out}/sum`)).slice(0, 64)
        assert.deepStrictEqual([stdout.length, stderr.length], [20_000_000, 20_000_000])
        assert.deepStrictEqual([stdout.hash.digest("hex"), stderr.hash.digest("hex")], [expected, expected])
      }).pipe(Effect.scoped))

    test("passes on arguments, environment and folder unchanged", () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const odd = "spaces  and 'quotes' \"both\" $HOME `x` \\ é\nline\t-- *"
        const cwd = yield* Effect.flatMap(fs.makeTempDirectoryScoped({ prefix: "a 'b' \"c\"\n$d" }), fs.realPath)
        const script = "console.log(JSON.stringify([process.argv.slice(1), process.env, process.cwd()]))"
        const args = [odd, "", "--flag", "-x=1", "--"]
        const result = yield* run(["node", "-e", script, "--", ...args], {
          cwd,
          env: { ODD: odd, EMPTY: "", "odd-name.1": odd, "BASH_FUNC_f%%": "() { :; }" }
        })
        const [argv, env, folder] = JSON.parse(result.stdout)
        assert.deepStrictEqual(argv, args)
        assert.strictEqual(folder, cwd)
        assert.deepInclude(env, { ODD: odd, EMPTY: "", "odd-name.1": odd, "BASH_FUNC_f%%": "() { :; }" })
        assert.strictEqual(env.LIGHTBOX_HOST, "emulated")
        assert.strictEqual(env.LIGHTBOX_OUT, (yield* Folders).out)
        assert.strictEqual(env.HOME, process.env.HOME)
      }).pipe(Effect.scoped))

    test("keeps what is written to LIGHTBOX_OUT, and nothing else", () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const { out } = yield* Folders
        const elsewhere = path.join(path.dirname(out), "elsewhere")
        const leave =
          'echo kept >"$LIGHTBOX_OUT/kept"; echo lost >"$1"; mkdir "$MSB_HOME/sandboxes"; echo lost >"$MSB_HOME/sandboxes/x"'
        assert.strictEqual((yield* run(["sh", "-c", leave, "sh", elsewhere])).status, 0)
        assert.strictEqual(yield* fs.readFileString(path.join(out, "kept")), "kept\n")
        assert.isFalse(yield* fs.exists(elsewhere))
        assert.strictEqual((yield* run(["sh", "-c", 'ls "$MSB_HOME"'])).stdout, "cache\ndb\n")
        assert.strictEqual((yield* run(["sh", "-c", 'ls "$MSB_HOME"'], { flags: ["--fresh"] })).stdout, "")
      }))

    test("builds the same image again, byte for byte", () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const again = yield* fs.makeTempDirectoryScoped()
        const archives = yield* Effect.forEach([(yield* Folders).cache, again], (folder) =>
          Busybox.archive.pipe(
            Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown({ XDG_CACHE_HOME: folder }))
          )
        )
        const [first, second] = yield* Effect.forEach(archives, fs.readFile)
        assert.notStrictEqual(archives[0], archives[1])
        assert.deepStrictEqual(first, second)
      }).pipe(Effect.scoped))

    test("resolves names on the network", () =>
      Effect.gen(function* () {
        const result = yield* run(["npm", "view", "effect", "name"])
        assert.strictEqual(result.stdout.trim(), "effect", result.stderr)
      }))

    test("boots a microVM, on a file system with reflinks", () =>
      Effect.gen(function* () {
        const result = yield* run(["node", file("microvm.ts")], { flags: ["--fs", "xfs"] })
        assert.strictEqual(result.status, 0, result.stderr)
        assert.include(result.stdout, "which said hello")
      }))

    test("is a native host for a run inside it", () =>
      Effect.gen(function* () {
        const inner = [process.execPath, file("run.ts"), "--", "sh", "-c", 'echo "$LIGHTBOX_HOST"; kill -15 $$']
        const result = yield* run(inner)
        assert.deepStrictEqual([result.stdout, result.status], ["native\n", 143], result.stderr)
        assert.match(result.stderr, /host: native, cpus \d+, images busybox/)
      }))

    test("stops at its time limit", () =>
      Effect.gen(function* () {
        const result = yield* run(["sh", "-c", "trap 'echo stopped; exit 0' TERM; while :; do sleep 0.1; done"], {
          flags: ["--timeout", "8 seconds"]
        })
        assert.strictEqual(result.status, 124)
        assert.strictEqual(result.stdout, "stopped\n")
        assert.include(result.stderr, "host: stopped at its time limit of 8s\n")
      }))

    for (const [signal, status] of [
      ["SIGHUP", 129],
      ["SIGINT", 130],
      ["SIGTERM", 143]
    ] as const) {
      test(`lets the command end on ${signal}`, () =>
        Effect.gen(function* () {
          const name = signal.slice(3)
          const result = yield* disturb(
            `trap 'echo got ${name}; exit 0' ${name}; echo started; while :; do sleep 0.1; done`,
            (host) => host.kill({ killSignal: signal })
          )
          assert.strictEqual(result.stdout, `started\ngot ${name}\n`)
          assert.strictEqual<number | undefined>(result.status, status)
        }))
    }

    test("ends even if the command ignores the signal", () =>
      Effect.gen(function* () {
        const result = yield* disturb("trap '' INT; echo started; while :; do sleep 0.1; done", (host) =>
          host.kill({ killSignal: "SIGINT" })
        )
        assert.strictEqual<number | undefined>(result.status, 130)
      }))

    test("leaves nothing when it is killed", () =>
      disturb("echo started; sleep 1000", (host) => Effect.ignore(host.kill({ killSignal: "SIGKILL" }))))

    test("leaves nothing when its standard output is closed", () =>
      Effect.gen(function* () {
        const host = yield* start(["sh", "-c", "yes"])
        const lines = yield* host.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.take(3), Stream.runCollect)
        assert.deepStrictEqual(lines, ["y", "y", "y"])
      }).pipe(Effect.scoped))

    test("reports that the emulator or its kernel died", () =>
      Effect.gen(function* () {
        const panic = yield* run(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 1000"])
        assert.strictEqual(panic.status, 70)
        assert.match(panic.stderr, /the emulated host ended before the command did\n(.*\n)*.*Kernel panic.*sysrq/)
        const killed = yield* disturb("echo started; sleep 1000", () => signalEmulator("SIGKILL"))
        assert.strictEqual<number | undefined>(killed.status, 70)
        assert.include(killed.stderr, "the emulated host ended before the command did\n")
      }))

    test("gives up an emulator that stands still", () =>
      Effect.gen(function* () {
        const { status, stderr } = yield* disturb("echo started; sleep 1000", () => signalEmulator("SIGSTOP"), [
          "--stall",
          "5 seconds"
        ])
        assert.strictEqual(status, 70)
        assert.include(stderr, "the emulated host stood still for 5s")
      }))

    test("shows what runs at the time limit", () =>
      Effect.gen(function* () {
        const { status, stderr } = yield* run(["sh", "-c", "sleep 1234"], { flags: ["--timeout", "5 seconds"] })
        assert.strictEqual(status, 124)
        assert.match(stderr, /\bsleep 1234\n/)
      }))

    test("reloads damaged images", () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const images = path.join((yield* Folders).cache, "effect-lightbox/images")
        const layers = yield* fs.glob("*/layers/*.erofs", { root: images })
        const [layerFile] = layers
        assert.isDefined(layerFile)
        const damaged = path.join(images, layerFile ?? "")
        for (const damage of [fs.writeFileString(damaged, "garbage"), fs.truncate(damaged, 1000), fs.remove(damaged)]) {
          yield* damage
          const result = yield* run(["sh", "-c", 'wc -c <"$1"', "sh", damaged])
          assert.include(result.stderr, "images busybox (damaged, loaded again)")
          assert.isAbove(Number(result.stdout), 1_000_000)
        }
      }))

    test("runs twice at the same time", () =>
      Effect.gen(function* () {
        const one = (name: string) =>
          run(["sh", "-c", 'echo "$0" >"$MSB_HOME/mark"; sleep 3; cat "$MSB_HOME/mark"', name], {
            flags: ["--cpus", "1", "--memory", "2048", "--name", name]
          })
        const results = yield* Effect.all([one("first"), one("second")], { concurrency: "unbounded" })
        assert.deepStrictEqual(
          results.map((result) => result.stdout),
          ["first\n", "second\n"]
        )
        for (const [index, name] of ["first", "second"].entries()) {
          assert.match(results[index]?.stderr ?? "", new RegExp(`^${name}: emulated, cpus 1, memory 2048 MiB`))
        }
      }))

    test("removes what a machine that lost power left", () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const left = path.join((yield* Folders).cache, "effect-lightbox/runs/4194305-left")
        const mark = path.join(Cache.sockets, `${Cache.socketOf("4194305-left")}.pid`)
        yield* fs.makeDirectory(left, { recursive: true })
        yield* fs.writeFileString(mark, "")
        assert.strictEqual((yield* run(["true"])).status, 0)
        assert.deepStrictEqual([yield* fs.exists(left), yield* fs.exists(mark)], [false, false])
      }))

    test("names the Debian release that it needs", () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const empty = yield* fs.makeTempDirectoryScoped()
        const host = yield* ChildProcess.make(
          "unshare",
          [
            "--mount",
            "sh",
            "-c",
            'mount --bind "$0" /usr/lib/qemu && exec "$@"',
            empty,
            process.execPath,
            file("run.ts"),
            "--fresh",
            "--",
            "true"
          ],
          { env: { XDG_CACHE_HOME: (yield* Folders).cache, LIGHTBOX_OUT: (yield* Folders).out }, extendEnv: true }
        )
        const result = yield* outcome(host)
        assert.strictEqual(result.status, 69, result.stderr)
        assert.strictEqual(
          result.stderr,
          "host: an emulated host needs Debian 12, where the package qemu-system-common has /usr/lib/qemu/virtiofsd\n"
        )
      }).pipe(Effect.scoped))

    test("names the packages that it cannot install", () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        // A place that any user can read, with a dpkg that knows all packages but one.
        const place = yield* fs.makeTempDirectoryScoped()
        yield* fs.chmod(place, 0o755)
        const node = path.join(place, "node")
        yield* fs.copyFile(process.execPath, node)
        const dpkg = path.join(place, "dpkg-query")
        yield* fs.writeFileString(
          dpkg,
          '#!/bin/sh\nfor name; do case $name in -*|*\\$*|qemu-system-x86) ;; *) echo "$name installed";; esac; done\nexit 1\n'
        )
        yield* Effect.forEach([node, dpkg], (tool) => fs.chmod(tool, 0o755))
        const host = yield* ChildProcess.make(
          "setpriv",
          ["--reuid=65534", "--regid=65534", "--clear-groups", node, file("run.ts"), "--fresh", "--", "true"],
          {
            env: {
              PATH: `${place}:${process.env.PATH}`,
              XDG_CACHE_HOME: path.join("/tmp", path.basename(place)),
              LIGHTBOX_OUT: "/tmp"
            },
            extendEnv: true
          }
        )
        const result = yield* outcome(host)
        assert.strictEqual(result.status, 69, result.stderr)
        assert.strictEqual(
          result.stderr,
          "host: an emulated host needs the Debian packages qemu-system-x86. " +
            "Install them with: sudo apt-get install --no-install-recommends qemu-system-x86\n"
        )
      }).pipe(Effect.scoped))
  }
)

/**
 * Commands and their output, over the library's own connection to the guest and over the SDK's.
 */
import * as Effect from "effect/Effect"
import type * as Duration from "effect/Duration"
import * as Stream from "effect/Stream"
import * as Sdk from "microsandbox"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { reference as image } from "../images/Busybox.ts"
import { cpuOfSandboxes } from "./cpu.ts"
import { collect, peakOf } from "./memory.ts"
import * as Row from "./Row.ts"
import { isEmulated } from "../support.ts"

const resources = { cpus: 1, memory: "256M" } as const
const mebibyte = 1024 * 1024

const megabytes = isEmulated ? 10 : 100

/**
 * What output may take of our memory in MiB: what a command's buffer holds, and what was read and is not yet collected,
 * for which Node.js takes its time: 100 to 200 MiB where there is that much.
 */
const memoryLimit = { some: 48, plenty: 256 }

/** Reads output, and waits after each MiB of it. Gives the number of bytes. */
const readSlowly = <E, R>(
  output: Stream.Stream<Sandbox.ExecEvent, E, R>,
  pause: Duration.Input
): Effect.Effect<number, E, R> =>
  Stream.runFoldEffect(
    output,
    () => 0,
    (bytes, event) => {
      if (event._tag !== "Stdout") return Effect.succeed(bytes)
      const now = bytes + event.bytes.length
      const isNext = Math.floor(now / mebibyte) > Math.floor(bytes / mebibyte)
      return isNext ? Effect.as(Effect.sleep(pause), now) : Effect.succeed(now)
    }
  )

const expectBytes = (expected: number, bytes: number) =>
  bytes === expected ? Effect.void : Effect.die(new Error(`${bytes} bytes came, not ${expected}`))

const slowRow = (name: string, megabytes: number, peak: number, limit: number): Row.Row =>
  Row.make(
    `${megabytes} MiB of output of ${name} to a slow reader: peak memory`,
    { ours: ["sandbox.stream", [peak]] },
    { unit: "MiB", limit }
  )

/** A sandbox, and what the SDK makes of a command in it: how many bytes it printed. */
const withSdk = Effect.gen(function* () {
  let streams = 0
  const sandbox = yield* Sandbox.launch({ image, resources })
  const raw = yield* Effect.acquireDisposable(
    Effect.promise(async () => (await Sdk.Sandbox.get(sandbox.name)).connect())
  )
  // The SDK's handles keep their connections until they are collected, and a sandbox has 128.
  const release = Effect.suspend(() => (++streams % 32 === 0 ? collect : Effect.void))
  const execStream = (command: string, args: Array<string>) =>
    Effect.promise(async () => {
      let bytes = 0
      for await (const event of await raw.execStream(command, args)) {
        if (event.kind === "stdout") bytes += event.data.length
      }
      return bytes
    })
  return { sandbox, execStream, release }
})

export const benches: ReadonlyArray<Row.Bench> = [
  {
    name: "exec",
    place: "agents",
    rows: (n) =>
      Effect.gen(function* () {
        const { execStream, release, sandbox } = yield* withSdk
        return yield* Row.compareCosts(
          "exec round trip",
          n * 10,
          { what: "sandbox.exec", round: sandbox.exec("true") },
          { what: "the SDK's execStream, read", round: execStream("true", []) },
          { target: 1.1, warmUp: n * 10, between: release }
        )
      })
  },
  {
    name: "signal",
    place: "agents",
    rows: (n) =>
      Effect.gen(function* () {
        const sandbox = yield* Sandbox.launch({ image, resources })
        return yield* Row.compareCosts(
          "a command that is ended by a signal",
          n * 10,
          { what: "kill -9 $$", round: sandbox.shell("kill -9 $$") },
          { what: "exit 3", round: sandbox.shell("exit 3") },
          { target: 1.5, warmUp: n * 10 }
        )
      })
  },
  {
    name: "output",
    place: "agents",
    rows: (n) =>
      Effect.gen(function* () {
        const { execStream, sandbox } = yield* withSdk
        const size = megabytes * mebibyte
        const args = ["-c", String(size), "/dev/zero"]
        const measured = <E, R>(output: Effect.Effect<number, E, R>) =>
          Effect.gen(function* () {
            const sandboxes = yield* cpuOfSandboxes
            const cost = Row.meter()
            const { peak, value } = yield* peakOf(output)
            yield* expectBytes(size, value)
            return { ...cost(), peak, sandbox: yield* sandboxes }
          })
        const [mine = [], theirs = []] = yield* Row.alternate(n, [
          measured(
            Stream.runFold(
              sandbox.execStream("head", args),
              () => 0,
              (bytes, event) => (event._tag === "Stdout" ? bytes + event.bytes.length : bytes)
            )
          ),
          measured(execStream("head", args))
        ])
        const name = `${megabytes} MiB of output`
        const what = { ours: "sandbox.stream", reference: "the SDK's execStream" }
        const part = (name: string, part: "peak" | "sandbox", options?: Parameters<typeof Row.make>[2]) =>
          Row.make(
            `${name}: ${part === "peak" ? "peak memory" : "processor time of the sandbox"}`,
            {
              ours: [what.ours, mine.map((round) => round[part])],
              reference: [what.reference, theirs.map((round) => round[part])]
            },
            options
          )
        return [
          ...Row.costs(name, { ours: [what.ours, mine], reference: [what.reference, theirs] }, { target: 1.1 }),
          part(name, "sandbox"),
          part(name, "peak", { unit: "MiB", limit: isEmulated ? memoryLimit.some : memoryLimit.plenty })
        ]
      })
  },
  {
    name: "file-streams",
    rows: () =>
      Effect.gen(function* () {
        const sandbox = yield* Sandbox.launch({ image, resources: { cpus: 1, memory: "512M" } })
        const size = 64
        const piece = new Uint8Array(mebibyte)
        const pieces = Stream.fromIterable(Array.from({ length: size }, () => piece))
        const written = yield* peakOf(Stream.run(pieces, sandbox.sink("/dev/shm/file")))
        const read = yield* peakOf(
          Stream.runFold(
            sandbox.stream("/dev/shm/file"),
            () => 0,
            (bytes, piece) => bytes + piece.length
          )
        )
        yield* expectBytes(size * mebibyte, read.value)
        const row = (what: string, peak: number) =>
          Row.make(
            `a file of ${size} MiB ${what} as a stream: peak memory`,
            { ours: ["sandbox", [peak]] },
            { unit: "MiB", limit: memoryLimit.plenty }
          )
        return [row("written", written.peak), row("read", read.peak)]
      })
  },
  {
    name: "slow-reader",
    rows: () =>
      Effect.gen(function* () {
        const sandbox = yield* Sandbox.launch({ image, resources })
        const size = 64
        const output = sandbox.execStream("head", ["-c", String(size * mebibyte), "/dev/zero"])
        const { peak, value } = yield* peakOf(readSlowly(output, isEmulated ? "1500 millis" : "15 millis"))
        yield* expectBytes(size * mebibyte, value)
        return [slowRow("a microVM", size, peak, memoryLimit.some)]
      })
  },
  {
    name: "slow-reader-twin",
    place: "machine",
    rows: () =>
      Effect.gen(function* () {
        const size = 1024
        const piece = new Uint8Array(mebibyte)
        const print = (invocation: MicrosandboxMemory.Invocation): Effect.Effect<number, LightboxError> =>
          Effect.as(Effect.repeat(invocation.stdout(piece), { times: size - 1 }), 0)
        const twin = MicrosandboxMemory.layer({ commands: { print } })
        const { peak, value } = yield* peakOf(
          Effect.scoped(
            Effect.gen(function* () {
              const sandbox = yield* Sandbox.launch({ image: "busybox" })
              return yield* readSlowly(sandbox.execStream("print"), "1 millis")
            })
          ).pipe(Effect.provide(twin))
        )
        yield* expectBytes(size * mebibyte, value)
        return [slowRow("the twin in memory", size, peak, memoryLimit.plenty)]
      })
  }
]

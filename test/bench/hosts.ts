/** What it costs to use another machine, and a fleet of them. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxFleet from "../../src/MicrosandboxFleet.ts"
import * as MicrosandboxRemote from "../../src/MicrosandboxRemote.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import { dieWithParent } from "../host/Subprocess.ts"
import { reference as image } from "../images/Busybox.ts"
import { isEmulated, temporary } from "../support.ts"
import { heap } from "./memory.ts"
import * as Row from "./Row.ts"

const resources = { cpus: 1, memory: "256M" } as const

const mebibyte = 1024 * 1024

const token = Redacted.make("a-token-of-the-benchmarks")

/** Starts a program of this folder, and returns what it prints first after a word. */
const start = Effect.fnUntraced(function* (program: string, word: string, ...args: ReadonlyArray<string>) {
  const path = fileURLToPath(new URL(`programs/${program}.ts`, import.meta.url))
  const [command, ...words] = dieWithParent([process.execPath, path, ...args])
  const { stdout } = yield* ChildProcess.make(command, words, { stdin: "ignore", stderr: "inherit" })
  const lines = Stream.splitLines(Stream.decodeText(stdout))
  const first = yield* Stream.runHead(Stream.filter(lines, (line) => line.startsWith(word)))
  return first._tag === "Some" ? first.value.slice(word.length).trim() : yield* Effect.die(`${program} has ended`)
})

const gateway: Row.Bench = {
  name: "gateway",
  place: "agents",
  rows: (n, place) =>
    Effect.gen(function* () {
      const url = yield* start("gateway", "url ", place)
      const client = yield* Layer.build(MicrosandboxRemote.layer({ url, token, home: yield* temporary }))
      const near = yield* Sandbox.launch({ image, resources })
      const far = yield* Effect.provideContext(Sandbox.launch({ image, resources }), client)
      const commands = yield* Row.compareCosts(
        "exec round trip through a gateway",
        n * 10,
        { what: "a sandbox of a host beside", round: far.exec("true") },
        { what: "a sandbox of this process", round: near.exec("true") },
        { target: 1.3, warmUp: n * 10 }
      )
      const size = isEmulated ? 8 : 64
      const bytes = new Uint8Array(size * mebibyte)
      // 50 MB/s.
      const limit = isEmulated ? {} : { limit: bytes.length / 50_000 }
      const file = (what: string, run: (sandbox: Sandbox.Sandbox) => Effect.Effect<unknown, unknown>) =>
        Row.compare(
          `a file of ${size} MiB ${what} through a gateway`,
          n,
          { what: "a sandbox of a host beside", round: Row.millisOf(run(far)) },
          { what: "a sandbox of this process", round: Row.millisOf(run(near)) },
          { target: 1.3, warmUp: 2, ...limit }
        )
      return [
        ...commands,
        yield* file("written", (sandbox) => sandbox.writeFile("/file", bytes)),
        yield* file("read", (sandbox) => sandbox.readFile("/file"))
      ]
    })
}

/** Counts the statements of this process. */
const counting = Effect.sync(() => {
  let statements = 0
  class Counted extends Tracer.NativeSpan {
    override end(...args: Parameters<Tracer.NativeSpan["end"]>) {
      super.end(...args)
      if (this.attributes.has("db.query.text")) statements++
    }
  }
  return { tracer: Tracer.make({ span: (options) => new Counted(options) }), statements: () => statements }
})

const hosts = 50
const sandboxes = 10_000

const fleet: Row.Bench = {
  name: "fleet",
  place: "machine",
  rows: () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const directory = Path.join(folder, "fleet.db")
      yield* start("hosts", "ready", directory, folder, String(hosts))
      const { statements, tracer } = yield* counting
      const client = yield* Layer.build(
        MicrosandboxFleet.layer({ directory, token, home: Path.join(folder, "client") })
      )
      const driver = Context.get(client, Microsandbox.Microsandbox)
      const create = (index: number) =>
        driver.createSandbox({
          name: `bench-${index}`,
          source: { _tag: "Image", reference: "busybox" },
          config: { resources: { memory: 64 * mebibyte } }
        })
      const part = (from: number, to: number) =>
        Effect.forEach(
          Array.from({ length: to - from }, (_, index) => from + index),
          (index) => Row.millisOf(create(index)),
          { concurrency: 4 }
        )
      yield* part(0, 100)
      const before = heap()
      const measured = Effect.fnUntraced(function* (from: number, to: number) {
        const begun = statements()
        const times = yield* part(from, to)
        return { times, each: (statements() - begun) / (to - from) }
      }, Effect.withTracer(tracer))
      const few = yield* measured(100, 1100)
      yield* part(1100, sandboxes - 1000)
      const many = yield* measured(sandboxes - 1000, sandboxes)
      const memory = (heap() - before) / mebibyte
      const what = { few: "with 1,000 of them", many: `with ${sandboxes.toLocaleString("en")} of them` }
      const name = `sandboxes on ${hosts} hosts`
      return [
        Row.make(
          `a launch among ${name}`,
          { ours: [what.many, many.times], reference: [what.few, few.times] },
          { target: 1.5 }
        ),
        Row.make(
          `statements of a launch among ${name}`,
          { ours: [what.many, [many.each]], reference: [what.few, [few.each]] },
          { unit: "statements", target: 1.05 }
        ),
        Row.make(
          `memory of a program with ${sandboxes.toLocaleString("en")} ${name}`,
          { ours: ["heap", [memory]] },
          { unit: "MiB", limit: 64 }
        )
      ]
    })
}

export const benches: ReadonlyArray<Row.Bench> = [gateway, fleet]

/**
 * The tools of an agent that works in one sandbox: it runs commands, writes files, and starts a development server, which
 * is a job. A list of calls stands for the language model.
 */
import { Console, Effect, Stream } from "effect"
import { Lightbox, type LightboxError, MicrosandboxLocal, Sandbox } from "effect-lightbox"

const toolsOf = (sandbox: Sandbox.Sandbox) => ({
  run: (command: string) =>
    sandbox.shell(command, { timeout: "5 seconds" }).pipe(
      Effect.map(({ exitCode, stderr, stdout }) => ({ exitCode, stdout, stderr })),
      // The model should see how far the command came.
      Effect.catchReason("LightboxError", "TimedOut", ({ stdout = "" }) =>
        Effect.succeed({ error: "too slow", stdout })
      )
    ),
  read: (path: string) => sandbox.readFileString(path),
  write: (path: string, content: string) => Effect.as(sandbox.writeFileString(path, content), "written"),
  serve: (id: string, command: string, port: number) =>
    Effect.gen(function* () {
      yield* sandbox.start("sh", ["-c", command], { id })
      yield* sandbox.waitUntil({ http: port, status: 200 }, { job: id })
      return `${id} is ready`
    }),
  fetch: (port: number, path: string) =>
    Effect.scoped(
      Effect.gen(function* () {
        const { url } = yield* sandbox.forward(port)
        return yield* Effect.promise(async () => (await (await fetch(`${url}${path}`)).text()).trim())
      })
    ),
  logs: (id: string) =>
    Effect.gen(function* () {
      const job = yield* sandbox.job(id)
      yield* job.signal("SIGTERM")
      yield* job.wait
      const log = job.logs().pipe(
        Stream.filter((event) => event._tag === "Output"),
        Stream.map(({ bytes }) => bytes),
        Stream.decodeText
      )
      return { requests: (yield* Stream.mkString(log)).split("200").length - 1 }
    })
})

const program = Effect.gen(function* () {
  const sandbox = yield* Sandbox.launch({ image: "busybox", name: "agent", network: "none" })
  const tools = toolsOf(sandbox)
  const calls: { readonly [name: string]: Effect.Effect<unknown, LightboxError.LightboxError> } = {
    write: Effect.andThen(tools.run("mkdir -p /srv"), tools.write("/srv/index.html", "<h1>hi</h1>\n")),
    "read a missing file": tools.read("/nope"),
    fail: tools.run("echo no such package >&2; exit 7"),
    wait: tools.run("echo working; sleep 1000"),
    serve: tools.serve("dev", "exec httpd -f -v -p 3000 -h /srv", 3000),
    fetch: tools.fetch(3000, "/index.html"),
    "stop and read the log": Effect.map(tools.logs("dev"), ({ requests }) => requests > 0)
  }
  for (const [name, call] of Object.entries(calls)) {
    const result = yield* call.pipe(Effect.catch(({ reason }) => Effect.succeed({ error: reason._tag })))
    yield* Console.log(`${name}:`, JSON.stringify(result))
  }
})

program.pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())

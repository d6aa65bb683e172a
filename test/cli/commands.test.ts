import { assert, describe, vi } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import * as Os from "node:os"
import * as Path from "node:path"
import { BuildEvent } from "../../src/BuildEvent.ts"
import * as Cleanup from "../../src/Cleanup.ts"
import * as Shapes from "../../src/internal/cli/json.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxProxy from "../../src/SandboxProxy.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Bench from "../Microsandbox/Bench.ts"
import * as Support from "./support.ts"
import * as FakeRegistry from "../Snapshot/FakeRegistry.ts"
import { Cli, definitions, detached, ending, failing, json, succeeding, test } from "./support.ts"

const two = definitions("two")

/** What is left on the twin. */
const inventory = MicrosandboxMemory.Control.use((control) => control.inventory)

describe("build and plan", () => {
  test(
    "capture the memory with --warm, where the runtime can do so",
    Effect.gen(function* () {
      yield* succeeding("build", two, "tools", "--warm")
      assert.isAbove((yield* Snapshot.get("tools")).memory ?? 0, 0)
      assert.include((yield* failing(2, "build", two, "tools", "--warm", "--watch")).message, "--warm")
    }),
    { memorySnapshots: true }
  )

  test(
    "say that the runtime cannot capture the memory, before anything boots",
    Effect.gen(function* () {
      const { error } = yield* failing(1, "build", two, "--warm")
      assert.deepInclude(error?.reason, { _tag: "Unsupported", feature: "warm" })
      assert.deepStrictEqual((yield* inventory).snapshots, [])
    })
  )

  test(
    "build every definition a module exports, and then nothing",
    Effect.gen(function* () {
      const { stderr, stdout } = yield* succeeding("build", two)
      assert.match(stdout, /^tools: generation 1, steps: 2 run, 0 reused, [\d.]+ s\nplain: generation 1, steps: 1 run/)
      assert.include(stderr, "say one")

      const again = yield* succeeding("build", two, "--quiet")
      assert.deepStrictEqual(again, { status: 0, stdout: "tools\nplain\n", stderr: "" })
      assert.deepStrictEqual((yield* inventory).sandboxes, [])
    })
  )

  test(
    "build and plan a Dockerfile, as docker does",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { folder } = yield* Cli
      const context = `${folder}/my app`
      yield* fs.makeDirectory(context)
      yield* fs.writeFileString(`${context}/token`, "a-token-of-mine")
      yield* fs.writeFileString(
        `${context}/Dockerfile`,
        [
          "FROM debian:12 AS build",
          "ARG VERSION=1",
          "RUN --mount=type=secret,id=npm test $(cat /run/secrets/npm) = a-token-of-mine && echo $VERSION > /version",
          "FROM debian:12 AS prod",
          "COPY --from=build /version /",
          "FROM prod",
          "RUN echo last > /last"
        ].join("\n")
      )
      const flags = ["--secret", `id=npm,src=${context}/token`, "--build-arg", "VERSION=2"]
      const { stdout } = yield* succeeding("build", "-t", "app", context, ...flags, "--target", "prod")
      assert.match(stdout, /^app: generation 1, steps: 1 run, 0 reused/)
      const [plans] = yield* json(Shapes.Plans, "plan", `${context}/Dockerfile`, ...flags)
      assert.deepStrictEqual(
        plans?.map(({ snapshot, steps }) => [snapshot, ...steps.map(({ verdict }) => verdict._tag)]),
        [
          ["my-app.build", "Hit"],
          ["my-app", "Hit", "Miss"]
        ]
      )
      const named = yield* succeeding("build", "-f", `${context}/Dockerfile`, "-t", "app", context, ...flags, "--quiet")
      assert.strictEqual(named.stdout, "app\n")

      const field = (...args: ReadonlyArray<string>) => Effect.map(failing(2, ...args), ({ message }) => message)
      assert.include(yield* field("build", "-t", "a b", context, ...flags), "--tag: expected 1 to 128 letters")
      assert.include(yield* field("build", context, "--target", "x", ...flags), 'there is no stage "x"')
      assert.include(yield* field("build", context, "app", ...flags), "NAME: a Dockerfile has one definition")
      assert.include(yield* field("build", two, "-t", "x"), "--tag: is only for a Dockerfile")
      assert.include((yield* ending(2)("build", context, "--secret", "id=x,src=/no")).stderr, "--secret")
    })
  )

  test(
    "build by name, with one line of JSON per event",
    Effect.gen(function* () {
      const lines = yield* json(Schema.Union([BuildEvent, Shapes.Built]), "build", two, "plain")
      assert.isTrue(lines.some(({ _tag }) => _tag === "StepStarted"))
      const built = lines.filter((line) => line._tag === "Built")
      assert.deepStrictEqual(
        built.map(({ generation, name, stepsRun }) => ({ generation, name, stepsRun })),
        [{ generation: 1, name: "plain", stepsRun: 1 }]
      )
      assert.strictEqual(lines.at(-1)?._tag, "Built")
    })
  )

  test(
    "plan what a build would do, and why",
    Effect.gen(function* () {
      const { stdout } = yield* succeeding("plan", two, "tools")
      assert.include(stdout, "say one")
      assert.include(stdout, "2 of 2 steps to run.")
      assert.deepStrictEqual((yield* inventory).snapshots, [])

      yield* succeeding("build", two, "tools")
      const [plans] = yield* json(Shapes.Plans, "plan", two)
      assert.deepStrictEqual(
        plans?.map(({ isCached, snapshot }) => [snapshot, isCached]),
        [
          ["tools", true],
          ["plain", false]
        ]
      )
      assert.strictEqual((yield* succeeding("plan", two, "--quiet")).stdout, "plain\n")
      const [forced] = yield* json(Shapes.Plans, "plan", two, "tools", "--from", "2")
      assert.deepStrictEqual(
        forced?.[0]?.steps.map(({ verdict }) => (verdict._tag === "Hit" ? "Hit" : verdict.reason._tag)),
        ["NotKept", "Forced"]
      )
    })
  )

  test(
    "report the failed step, its last output and what to do",
    Effect.gen(function* () {
      const module = definitions("failing")
      const { stderr } = yield* ending(1)("build", module, "failing", "--quiet")
      assert.match(
        stderr,
        /^error: Snapshot "failing" failed at step 1, the bad one \(.*failing\.ts:\d+\): setup step exited with code 7: .*\n {2}\| a red tail\nhint: Pass --keep-builder to .*\n$/
      )
      assert.notInclude(stderr, "\x1b")
      assert.strictEqual(stderr.split("exited with code 7").length, 2)

      const failure = yield* failing(1, "build", module, "failing", "--keep-builder")
      assert.strictEqual(failure.error?.reason._tag, "CommandFailed")
      assert.deepInclude(failure.error?.step, { definition: "failing", index: 1, description: "the bad one" })
      assert.strictEqual(failure.hint, "`lightbox shell failing-builder` opens a shell in the builder")
      assert.deepStrictEqual(
        (yield* inventory).sandboxes.map(({ name }) => name),
        ["failing-builder"]
      )
    })
  )

  test(
    "replace another tool's snapshot only when told to",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      yield* Sandbox.run({ image: "alpine:3", name: "hand-made" }, (sandbox) =>
        Effect.andThen(sandbox.stop(), driver.captureSnapshot({ sandbox: "hand-made", name: "tools" }))
      )
      const failure = yield* failing(1, "build", two, "tools", "--quiet")
      assert.strictEqual(failure.error?.reason._tag, "AlreadyExists")
      assert.include(failure.hint, "--replace-foreign")
      yield* succeeding("build", two, "tools", "--quiet", "--replace-foreign")
    })
  )

  test(
    "report an error type of the definition's own",
    Effect.gen(function* () {
      const { stderr } = yield* ending(1)("build", definitions("failing"), "foreign", "--quiet")
      assert.match(stderr, /^error: SeedError: the seed is missing\n/)
    })
  )

  test(
    "report a failure as an event on one line, without a stack",
    Effect.gen(function* () {
      const { stdout } = yield* ending(1)("--json", "build", definitions("failing"), "failing")
      const events = yield* Support.decodeLines(BuildEvent, stdout)
      const problems = events.flatMap((event) => (event._tag === "Failed" ? [event.problem] : []))
      assert.strictEqual(problems.length, 1)
      assert.match(problems[0] ?? "", /^Snapshot "failing" failed at step 1, the bad one/)
      assert.notMatch(problems[0] ?? "", /\n +at |file:/)
    })
  )

  test(
    "report a service that a definition needs and nobody provides",
    Effect.gen(function* () {
      const { stderr } = yield* ending(1)("build", definitions("failing"), "needy", "--quiet")
      assert.match(stderr, /^error: .*Service not found: .*\/Database/)
    })
  )

  test(
    "name what is wrong with a module, a name or a flag",
    Effect.gen(function* () {
      const field = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
        const { error, message } = yield* failing(2, ...args)
        return error?.reason._tag === "InvalidConfig" ? `${error.reason.field}: ${error.reason.problem}` : message
      })
      const wrong = Path.join((yield* Cli).folder, "wrong.ts")
      yield* FileSystem.FileSystem.use((fs) => fs.writeFileString(wrong, "export const a = 1\nexport const = 2\n"))
      assert.match(yield* field("build", "no/such.ts"), /^FILE: there is no file no\/such\.ts$/)
      assert.match(
        yield* field("build", definitions("broken")),
        /^FILE: .*a module that throws.* \(.*broken\.ts:1:\d+\)$/
      )
      assert.match(yield* field("build", wrong), /^FILE: [^]*wrong\.ts:2:\d+/)
      assert.match(yield* field("build", definitions("none")), /^FILE: .*none\.ts exports no snapshot definition$/)
      assert.match(yield* field("plan", definitions("doubled")), /^FILE: .* two definitions named "same"$/)
      assert.match(yield* field("plan", two, "other"), /^NAME: .*two\.ts exports tools, plain, but not other$/)
      assert.match(yield* field("build", two, "--from", "0"), /^--from: /)
      assert.match(yield* field("build", two, "--keep", "0"), /^--keep: /)
      assert.match(yield* field("build", two, "--from", "9"), /^--from: the definition has \d steps?$/)
      assert.match(yield* field("build", two, "--from", "1", "--force"), /^--from: cannot be combined with --force/)
      assert.match(yield* field("build", "package.json"), /^FILE: expected a JavaScript or TypeScript module/)
      assert.match(yield* field("build", "test"), /^FILE: expected a JavaScript or TypeScript module/)
      assert.match(yield* field("load", two), /^--as: the file was not written by save/)
      assert.match(yield* field("init", "--name", "a b"), /^--name: /)
      assert.match(yield* field("rm", ""), /^NAME: /)
      assert.match(yield* field("ls", "a b"), /^NAME: /)
      assert.match(yield* field("rollback", "a b"), /^NAME: /)
      assert.match(yield* field("volume", "rm", "-f", "a b"), /^NAME: /)
      assert.match(yield* field("build", two, "--keep", "many"), /--keep/)
      assert.match(yield* field("build", two, "--checkpoints", "some"), /--checkpoints/)
      assert.match(yield* field("build"), /^Missing required argument: file$/)
      assert.deepStrictEqual((yield* inventory).snapshots, [])
    })
  )
})

describe("ls, rollback, prune, save and load", () => {
  test(
    "list snapshots and generations, roll back, and remove",
    Effect.gen(function* () {
      assert.strictEqual((yield* succeeding("ls")).stdout, "There are no snapshots.\n")
      assert.deepStrictEqual(yield* json(Shapes.Snapshots, "ls"), [[]])
      yield* succeeding("build", two, "--quiet")
      yield* succeeding("build", two, "tools", "--force", "--quiet")

      assert.match(
        (yield* succeeding("ls")).stdout,
        /^NAME +GENERATION +IMAGE +SIZE +CREATED\nplain +1 +alpine:3 .*\ntools +2 +alpine:3 +[\d.]+K +(now|\d+ seconds? ago)\n$/
      )
      assert.strictEqual((yield* succeeding("ls", "-q")).stdout, "plain\ntools\n")
      const [named] = yield* json(Shapes.Snapshots, "ls")
      const [all] = yield* json(Shapes.Snapshots, "ls", "--layers")
      assert.isAbove(all?.length ?? 0, named?.length ?? 0)

      const current = Effect.map(json(Shapes.Generations, "ls", "tools"), ([generations]) =>
        generations?.map(({ generation, isCurrent }) => [generation, isCurrent])
      )
      assert.deepStrictEqual(yield* current, [
        [1, false],
        [2, true]
      ])
      assert.strictEqual((yield* succeeding("rollback", "tools")).stdout, "tools now points to generation 1\n")
      assert.deepStrictEqual(yield* current, [
        [1, true],
        [2, false]
      ])
      const [forward] = yield* json(Snapshot.Snapshot, "rollback", "tools", "--to", "2")
      assert.strictEqual(forward?.generation, 2)
      assert.match((yield* succeeding("ls", "tools")).stdout, /^GENERATION +CREATED\n1 .*\n2 .* current\n$/)

      const missing = yield* failing(1, "rollback", "tools", "--to", "9")
      assert.strictEqual(missing.error?.reason._tag, "NotFound")
      assert.include(missing.hint, "lightbox ls NAME")
      assert.include((yield* failing(1, "ls", "nothing")).hint, "lightbox ls")

      assert.strictEqual((yield* succeeding("rm", "--snapshot", "plain")).stdout, "Removed plain\n")
      assert.strictEqual((yield* failing(1, "rm", "--snapshot", "plain")).error?.reason._tag, "NotFound")
      assert.deepStrictEqual(yield* json(Shapes.Removed, "rm", "--snapshot", "plain", "tools", "--force"), [
        { removed: ["tools"] }
      ])
      assert.strictEqual((yield* succeeding("ls", "-q")).stdout, "")
    })
  )

  test(
    "prune what nothing needs, after a dry run",
    Effect.gen(function* () {
      yield* succeeding("build", two, "--quiet")
      yield* succeeding("build", two, "tools", "--force", "--quiet")
      const before = (yield* inventory).snapshots.length
      const [report] = yield* json(Cleanup.Report, "prune", "--keep", "1", "--dry-run")
      const removable = report?.verdicts.filter(({ verdict }) => verdict === "removable") ?? []
      assert.isAbove(removable.length, 0)
      assert.strictEqual((yield* inventory).snapshots.length, before)

      assert.match((yield* succeeding("prune", "--keep", "1", "--older-than", "30 days")).stdout, /\n0B were freed\n$/)
      assert.match(
        (yield* succeeding("prune", "--keep", "1")).stdout,
        /^VERDICT +SNAPSHOT .*\n(.*\n)*removed +tools \(/
      )
      assert.strictEqual((yield* inventory).snapshots.length, before - removable.length)
      assert.include((yield* failing(2, "prune", "--keep", "0")).message, "Invalid --keep")
      assert.include((yield* failing(2, "prune", "--older-than", "soon")).message, "--older-than")
    })
  )

  test(
    "save to a file and load it under another name",
    Effect.gen(function* () {
      const { folder } = yield* Cli
      const file = Path.join(folder, "tools.lightbox")
      yield* succeeding("build", two, "tools", "--quiet")
      assert.deepStrictEqual(yield* json(Shapes.File, "save", "tools", file, "--current", "--no-compress"), [
        { path: file }
      ])
      const taken = yield* failing(1, "load", file)
      assert.strictEqual(taken.error?.reason._tag, "AlreadyExists")
      assert.include(taken.hint, "--overwrite")
      const [loaded] = yield* json(Snapshot.Snapshot, "load", file, "--as", "copy")
      assert.strictEqual(loaded?.name, "copy")
      assert.strictEqual((yield* succeeding("load", file, "--overwrite")).stdout, "Loaded tools\n")
      assert.include((yield* failing(2, "load", file, "--as", "no name")).message, "Invalid --as")
      assert.strictEqual((yield* succeeding("ls", "-q")).stdout, "copy\ntools\n")
    })
  )
})

describe("push and pull --snapshot", () => {
  test(
    "bring a snapshot back under a name",
    Effect.gen(function* () {
      const { host } = yield* FakeRegistry.make
      const reference = `${host}/team/tools:main`
      yield* succeeding("build", two, "tools", "--quiet")
      const [pushed] = yield* json(Snapshot.Pushed, "push", "tools", reference)
      assert.strictEqual(pushed?.reference, reference)
      assert.match(
        (yield* succeeding("push", "tools@1", reference)).stdout,
        /^Pushed tools@1 to localhost:\d+\/team\/tools:main, sha256:[0-9a-f]{64}: sent \S+ for \S+\n$/
      )
      assert.strictEqual((yield* succeeding("push", "tools", reference, "-q")).stdout, `${pushed?.digest}\n`)
      assert.strictEqual(
        (yield* succeeding("pull", "--snapshot", "copy", reference)).stdout,
        `Pulled ${reference} as copy, generation 1\n`
      )
      const [untrusted] = yield* json(Snapshot.Snapshot, "pull", "--snapshot", "other", "--untrusted", reference)
      assert.deepStrictEqual([untrusted?.name, untrusted?.key], ["other", undefined])
      assert.strictEqual((yield* succeeding("ls", "-q")).stdout, "copy\nother\ntools\n")

      const none = yield* failing(1, "pull", "--snapshot", "copy", `${host}/team/none`)
      assert.deepInclude(none.error?.reason, { _tag: "TransferFailed", kind: "NotFound" })
      assert.include((yield* failing(2, "pull", "--snapshot", "a b", reference)).message, "Invalid --snapshot")
      assert.include((yield* failing(2, "pull", "--snapshot", "copy", reference, "x")).message, "a single one")
      assert.include((yield* failing(2, "pull", "--untrusted", "alpine:3")).message, "--snapshot")
      assert.include((yield* failing(2, "push", "a b", reference)).message, "Invalid SNAPSHOT")
      assert.include((yield* failing(2, "push", "tools", `${host}/x@sha256:0`)).message, "Invalid REFERENCE")
      assert.include((yield* failing(2, "push", "tools", reference, "--ca-certs", "/none")).message, "--ca-certs")
      assert.include((yield* failing(1, "push", "none", reference)).message, "none")
    }).pipe(Effect.scoped)
  )
})

describe("run, shell, ps and rm", () => {
  test(
    "pass on the exit status",
    Effect.gen(function* () {
      assert.strictEqual((yield* succeeding("run", "--image", "alpine:3", "--", "true")).stderr, "pulling alpine:3\n")
      assert.strictEqual((yield* succeeding("run", "--image", "alpine:3", "--", "true")).stderr, "")
      yield* ending(7)("run", "--image", "alpine:3", "--", "sh", "-c", "exit 7")
      yield* ending(137)("run", "--image", "alpine:3", "--", "sh", "-c", "kill -9 $$")
      assert.deepStrictEqual((yield* inventory).sandboxes, [])
    })
  )

  test(
    "distinguish their own failures from the command's",
    Effect.gen(function* () {
      const notFound = yield* failing(127, "run", "--image", "alpine:3", "--", "nonesuch")
      assert.strictEqual(notFound.error?.reason._tag, "CommandNotStarted")
      yield* failing(126, "run", "--image", "alpine:3", "--workdir", "/", "--", "/etc/passwd")
      assert.include((yield* failing(125, "run", "nothing", "--", "true")).hint, "lightbox ls")
      assert.include((yield* failing(125, "run")).message, "Invalid SNAPSHOT")
      assert.include((yield* failing(125, "run", "--frob", "x")).message, "--frob")
      assert.include((yield* failing(125, "shell", "nothing")).hint, "lightbox ps")
      assert.deepStrictEqual((yield* inventory).sandboxes, [])
    })
  )

  test(
    "configure the sandbox from the flags",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { folder, requests } = yield* Cli
      yield* fs.writeFileString(Path.join(folder, "greeting"), "hello")
      const script = 'echo "$A $B [$EMPTY] $PWD"; cat /work/greeting; echo kept > /cache/file; echo no >&2; exit 3'
      const { stdout } = yield* ending(3)(
        ..."run --json --image alpine:3 --name set-up --cpus 2 --memory 1G --disk 2G --workdir /etc -u root".split(" "),
        ..."-e A=1 --env B=x=y --env EMPTY= --env HOME --volume cache:/cache -p 127.0.0.1:18080:80/udp".split(" "),
        ..."--network public --pull if-missing --label team=web --root-disk copy".split(" "),
        "--mount",
        `${folder}:/work:ro`,
        "--max-duration",
        "1 hour",
        "--",
        "sh",
        "-c",
        script
      )
      const [ended] = yield* Support.decodeLines(Shapes.Ended, stdout)
      assert.deepInclude(ended, { exitCode: 3, stdout: "1 x=y [] /etc\nhello", stderr: "no\n" })
      const [request] = requests
      assert.deepStrictEqual(request?.source, { _tag: "Image", reference: "alpine:3" })
      const { env, labels, maxDuration, mounts, ...rest } = request?.config ?? {}
      assert.deepStrictEqual(rest, {
        name: "set-up",
        resources: { cpus: 2, memory: 1024 ** 3, disk: 2 * 1024 ** 3 },
        rootDisk: "copy",
        ports: [{ host: 18080, guest: 80, bind: "127.0.0.1", protocol: "udp" }],
        cwd: "/etc",
        user: "root",
        network: "public",
        pullPolicy: "if-missing"
      })
      assert.deepStrictEqual(env, { A: "1", B: "x=y", EMPTY: "", HOME: Os.homedir() })
      assert.deepStrictEqual(labels, { team: "web" })
      assert.deepStrictEqual(maxDuration, Duration.hours(1))
      assert.deepStrictEqual(mounts, {
        "/work": { bind: folder, readonly: true },
        "/cache": { volume: "cache", readonly: false }
      })
      assert.deepStrictEqual((yield* inventory).volumes, ["cache"])
    })
  )

  test(
    "name the invalid flag before anything boots",
    Effect.gen(function* () {
      const problem = (...args: ReadonlyArray<string>) =>
        Effect.map(failing(125, "run", "--image", "alpine:3", ...args, "--", "true"), ({ message }) => message)
      assert.include(yield* problem("--memory", "3 potatoes"), "Invalid --memory")
      assert.include(yield* problem("--cpus", "0"), "Invalid --cpus")
      assert.include(yield* problem("--cpus", "two"), "--cpus")
      assert.include(yield* problem("--name", "no name"), "Invalid --name")
      assert.include(yield* problem("--workdir", "srv"), "Invalid --workdir")
      assert.include(yield* problem("--mount", ".:work"), "--mount")
      assert.include(yield* problem("--mount", ".:/"), "Invalid --mount")
      assert.include(yield* problem("--mount", "/no/such/folder:/work"), "Invalid --mount /no/such/folder:/work: ")
      assert.include(yield* problem("--mount", ".:/work", "--volume", "data:/work"), "Invalid --volume /work")
      assert.include(yield* problem("--volume", "no name:/work"), "Invalid --volume no name:/work: ")
      assert.include(yield* problem("--port", "0x50"), "--port")
      assert.include(yield* problem("--port", "70000"), "Invalid --port 70000: ")
      assert.include(yield* problem("--volume", "./no/such:/work"), "Invalid --volume ./no/such:/work: ")
      assert.include(yield* problem("--secret", "TOKEN"), "<hidden>")
      assert.include(yield* problem("--secret", "NOT_SET_HERE@example.com"), '"NOT_SET_HERE". Expected: a variable')
      assert.include(yield* problem("--secret", "T=hidden@example.com", "--network", "none"), "Invalid --secret")
      assert.include(yield* problem("--env-file", "/no/such"), "a file that exists")
      assert.include(yield* problem("--timeout", "soon"), "--timeout")
      assert.include(yield* problem("-t"), "Invalid --tty: cannot be combined with --json")
      assert.include(yield* problem("--rm", "--name", "a", "--reuse"), "Invalid --rm: cannot be combined with --reuse")
      assert.include(yield* problem("--port", "70000:80"), "Invalid --port 70000:80: ")
      assert.include(yield* problem("--port", "8080:80:90"), "Invalid --port 8080:80:90: ")
      assert.include(yield* problem("--env", "NOT_SET_HERE"), '"NOT_SET_HERE". Expected: a variable that is set')
      assert.include(yield* problem("--network", "none", "--port", "8080:80"), "Invalid --port")
      assert.include(yield* problem("--network", "some"), "--network")
      assert.include(yield* problem("--env", "=x"), "--env")
      assert.include(yield* problem("--env", "LIGHTBOX_NOT_SET"), "--env")
      assert.include(yield* problem("--label", "team"), "--label")
      assert.include(yield* problem("--max-duration", "long"), "--max-duration")
      const shell = yield* failing(125, "run", "--image", "alpine:3")
      assert.include(shell.message, "Invalid --json: an interactive shell needs a terminal; give a command")
      assert.deepStrictEqual((yield* inventory).sandboxes, [])
    })
  )

  test(
    "detach a sandbox, run commands in it, list it and remove it",
    Effect.gen(function* () {
      assert.strictEqual((yield* succeeding("ps")).stdout, "There are no sandboxes.\n")
      const started = yield* succeeding("run", "--image", "alpine:3", "--name", "web", "--label", "team=web", "-d")
      assert.strictEqual(started.stdout, "web\n")
      const [other] = yield* json(
        Shapes.Detached,
        "run",
        "--image",
        "alpine:3",
        "--name",
        "other",
        "--detach-for",
        "1 hour"
      )
      assert.strictEqual(other?.name, "other")

      assert.match((yield* succeeding("ps")).stdout, /^NAME +STATUS +IMAGE .*\n(.*\n)*web +running +alpine:3 +1 +512M /)
      assert.strictEqual((yield* succeeding("ps", "-q", "--label", "team=web")).stdout, "web\n")
      const [sandboxes] = yield* json(Shapes.Sandboxes, "ps")
      assert.deepStrictEqual(sandboxes?.map(({ name, status }) => [name, status]).toSorted(), [
        ["other", "running"],
        ["web", "running"]
      ])

      const ended = yield* ending(4)("shell", "web", "--json", "--", "sh", "-c", "echo out; echo err >&2; exit 4")
      const [result] = yield* Support.decodeLines(Shapes.Ended, ended.stdout)
      assert.deepInclude(result, { exitCode: 4, stdout: "out\n", stderr: "err\n" })
      yield* ending(4)("shell", "web", "--", "sh", "-c", "exit 4")

      const running = yield* failing(1, "rm", "web")
      assert.strictEqual(running.error?.reason._tag, "StillRunning")
      assert.include(running.hint, "--force")
      const taken = yield* failing(125, "run", "--image", "alpine:3", "--name", "web", "--", "true")
      assert.strictEqual(taken.hint, "`lightbox rm web` frees the name")
      assert.strictEqual((yield* failing(1, "rm", "web", "nothing")).error?.reason._tag, "NotFound")
      assert.strictEqual((yield* inventory).sandboxes.length, 2)
      assert.strictEqual(
        (yield* succeeding("rm", "-f", "web", "other", "nothing")).stdout.split("\n")[0],
        "Removed web"
      )
      assert.deepStrictEqual((yield* inventory).sandboxes, [])
    })
  )
})

describe("jobs", () => {
  test(
    "are started, listed, read, fed, waited for, killed and removed",
    Effect.gen(function* () {
      yield* succeeding("run", "--image", "alpine", "--name", "web", "--detach")
      assert.strictEqual((yield* succeeding("jobs", "web")).stdout, "There are no jobs.\n")
      const script = "echo one; exit 3"
      assert.strictEqual(
        (yield* succeeding("job", "start", "web", "--id", "first", "--", "sh", "-c", script)).stdout,
        "first\n"
      )
      assert.strictEqual((yield* ending(3)("job", "wait", "web", "first")).stdout, "exited (3)\n")
      assert.strictEqual((yield* succeeding("job", "logs", "-f", "web", "first")).stdout, "one\n")
      assert.strictEqual((yield* succeeding("job", "logs", "--since", "2", "web", "first")).stdout, "e\n")
      const [piece] = yield* json(Shapes.JobOutput, "job", "logs", "web", "first")
      assert.deepStrictEqual(piece, { _tag: "Output", offset: 0, bytes: Buffer.from("one\n") })
      const [started] = yield* json(Shapes.JobStarted, "job", "start", "web", "--", "sleep", "1000")
      const id = started?.id ?? ""
      const [listed] = yield* json(Shapes.Jobs, "jobs", "web")
      assert.deepStrictEqual(
        listed?.map(({ id, status }) => [id, status._tag]),
        [
          ["first", "Exited"],
          [id, "Running"]
        ]
      )
      assert.include((yield* succeeding("jobs", "web")).stdout, "sleep 1000")
      assert.strictEqual((yield* failing(1, "job", "rm", "web", id)).error?.reason._tag, "StillRunning")
      yield* succeeding("job", "kill", "-s", "term", "web", id)
      assert.strictEqual((yield* ending(143)("job", "wait", "web", id)).stdout, "ended by SIGTERM\n")
      assert.include((yield* failing(2, "job", "kill", "-s", "none", "web", id)).message, "Invalid --signal")
      assert.include((yield* failing(2, "job", "logs", "--since", "-1", "web", id)).message, "Invalid --since")
      assert.include((yield* failing(2, "job", "logs", "web", "A b")).message, "Invalid ID")
      assert.include((yield* failing(2, "job", "write", "web", id)).message, "Invalid stdin")
      assert.include((yield* failing(2, "job", "attach", "web", id)).message, "Invalid terminal")
      const inTerminal = yield* succeeding(
        "job",
        "start",
        "-t",
        "web",
        "--",
        "sh",
        "-c",
        "stty size; echo $TERM; exit 3"
      )
      yield* ending(3)("job", "attach", "web", inTerminal.stdout.trim())
      const { stdout } = yield* succeeding("job", "logs", "web", inTerminal.stdout.trim())
      assert.match(stdout, /^\d+ \d+\r\n[\w-]+\r\n$/)
      assert.strictEqual((yield* succeeding("job", "rm", "web", id)).stdout, `Removed ${id}\n`)
      assert.strictEqual((yield* failing(1, "job", "logs", "web", id)).error?.reason._tag, "NotFound")
    })
  )
})

describe("the run command with --reuse", () => {
  test(
    "launches the sandbox of a name, uses it again, and starts it",
    Effect.gen(function* () {
      const reuse = (...words: ReadonlyArray<string>) =>
        succeeding("run", "--image", "alpine:3", "--name", "dev", "--reuse", ...words)
      assert.strictEqual((yield* reuse("-d")).stdout, "dev\n")
      const { id } = yield* Sandbox.get("dev")
      yield* reuse("--", "sh", "-c", "echo here > /root/note; sync")
      yield* Sandbox.stop("dev")
      const [read] = yield* json(
        Shapes.Ended,
        "run",
        "--image",
        "alpine:3",
        "--name",
        "dev",
        "--reuse",
        "--",
        "cat",
        "/root/note"
      )
      assert.strictEqual(read?.stdout, "here\n")
      assert.strictEqual((yield* Sandbox.get("dev")).id, id)
      const other = yield* failing(125, "run", "--image", "alpine:3", "--name", "dev", "--reuse", "-e", "A=1", "-d")
      assert.strictEqual(other.message, 'Sandbox "dev" exists with a different --env')
      assert.include((yield* failing(125, "run", "--image", "alpine:3", "--reuse")).message, "--reuse: needs --name")
    })
  )
})

describe("the port command", () => {
  test(
    "lists the published ports, and reaches others until the sandbox ends",
    Effect.gen(function* () {
      yield* succeeding("run", "--image", "alpine:3", "--name", "web", "--port", "0:80", "--detach")
      const [published] = yield* json(Shapes.Ports, "port", "web")
      assert.deepStrictEqual(
        published?.map(({ bind, guest, protocol }) => [bind, guest, protocol]),
        [["127.0.0.1", 80, "tcp"]]
      )
      const [taken] = published ?? []
      const wrong = yield* failing(2, "port", "web", `${taken?.host}:81`)
      assert.include(wrong.message, `PORT ${taken?.host}:81`)
      assert.include((yield* failing(2, "port", "web", "http")).message, "[[ADDRESS:]HOST:]GUEST")
      assert.strictEqual((yield* failing(1, "port", "nothing")).error?.reason._tag, "NotFound")

      const free = yield* Effect.scoped(Sandbox.connect("web").pipe(Effect.flatMap((web) => web.forward(81))))
      const reached = yield* Effect.forkScoped(succeeding("port", "web", `${free.host}:81`, "82"))
      yield* Effect.eventually(Bench.dial(free.host, ""))
      yield* Sandbox.kill("web")
      assert.match(
        (yield* Fiber.join(reached)).stdout,
        new RegExp(`127.0.0.1:${free.host} +81 +tcp\n127.0.0.1:\\d+ +82`)
      )
    }).pipe(Effect.scoped)
  )
})

describe("the proxy command", () => {
  test(
    "serves the ports of sandboxes by name until it is interrupted",
    Effect.gen(function* () {
      yield* detached("web")
      const taken = yield* SandboxProxy.make({ port: 0 })
      assert.include((yield* failing(2, "proxy", "-p", `${taken.port}`)).message, "Invalid --port")
      assert.include((yield* failing(2, "proxy", "--port", "65536")).message, "Invalid --port")
      assert.include((yield* failing(2, "proxy", "--port", "web")).message, "--port")
      const { port } = yield* Effect.scoped(SandboxProxy.make({ port: 0 }))
      const serving = yield* Effect.forkScoped(succeeding("proxy", "--port", `${port}`))
      const request = `GET / HTTP/1.1\r\nHost: 80-web.localhost\r\nConnection: close\r\n\r\n`
      assert.match(yield* Effect.eventually(Bench.dial(port, request)), /^HTTP\/1\.1 502 /)
      yield* Fiber.interrupt(serving)
      assert.match(String((yield* Effect.flip(Bench.dial(port, request))).cause), /ECONNREFUSED/)
    }).pipe(Effect.scoped)
  )
})

describe("the volume command", () => {
  test(
    "creates, lists, prunes and removes volumes",
    Effect.gen(function* () {
      assert.strictEqual((yield* succeeding("volume", "ls")).stdout, "There are no volumes.\n")
      yield* succeeding("volume", "create", "cache", "--quota", "4G", "--label", "tier=ci")
      const [volume] = yield* json(Shapes.Volume, "volume", "create", "data")
      assert.deepInclude(volume, { name: "data", kind: "directory" })
      assert.match((yield* succeeding("volume", "ls", "--usage")).stdout, /\ncache +directory +4096M +\d+\.\dK +\S/)
      const [all] = yield* json(Shapes.Volumes, "volume", "ls", "--usage")
      assert.deepStrictEqual(
        all?.map(({ name, quota, used }) => [name, quota, typeof used]),
        [
          ["cache", 4 * 1024 ** 3, "number"],
          ["data", undefined, "number"]
        ]
      )
      assert.include((yield* failing(2, "volume", "create", "disk", "--kind", "disk")).message, "Invalid --quota")
      assert.include((yield* failing(2, "volume", "create", "x", "--quota", "much")).message, "Invalid --quota")
      assert.include((yield* failing(2, "volume", "create", "no name")).message, "Invalid NAME")

      assert.include((yield* failing(2, "volume", "prune")).message, "Invalid --label")
      const [report] = yield* json(Cleanup.Report, "volume", "prune", "--label", "tier=ci", "--dry-run")
      assert.deepStrictEqual(
        report?.verdicts.map(({ name, verdict }) => [name, verdict]),
        [["cache", "removable"]]
      )
      assert.match((yield* succeeding("volume", "prune", "--label", "tier=ci")).stdout, /\nremoved +cache /)
      assert.strictEqual((yield* failing(1, "volume", "rm", "cache")).error?.reason._tag, "NotFound")
      assert.deepStrictEqual(yield* json(Shapes.Removed, "volume", "rm", "data", "cache", "--force"), [
        { removed: ["data"] }
      ])
      assert.deepStrictEqual((yield* inventory).volumes, [])
    })
  )

  test(
    "does not remove a volume that a sandbox mounts",
    Effect.gen(function* () {
      yield* succeeding("run", "--image", "alpine:3", "--name", "user", "--volume", "cache:/cache", "-d")
      assert.strictEqual((yield* failing(1, "volume", "rm", "cache")).error?.reason._tag, "InUse")
      yield* succeeding("rm", "--force", "user")
      yield* succeeding("volume", "rm", "cache")
    })
  )
})

describe("sweep, doctor, demo and init", () => {
  test(
    "sweep, without the driver's own sweep first",
    Effect.gen(function* () {
      yield* detached("kept")
      const { drivers } = yield* Cli
      const [report] = yield* json(Cleanup.Report, "sweep", "--dry-run", "--home", "/elsewhere")
      assert.isTrue(report?.isComplete)
      assert.deepStrictEqual(drivers.at(-1), { sweep: false, home: "/elsewhere" })
      assert.deepStrictEqual(
        report?.verdicts.filter(({ verdict }) => verdict !== "kept"),
        []
      )
      yield* succeeding("sweep", "--timeout", "1 minute")
      assert.deepStrictEqual(
        (yield* inventory).sandboxes.map(({ name }) => name),
        ["kept"]
      )
      assert.include((yield* failing(2, "sweep", "--timeout", "0")).message, "--timeout")
    })
  )

  test(
    "diagnose a machine, healthy or not",
    Effect.gen(function* () {
      const { call, drivers, folder } = yield* Cli
      const { status, stdout } = yield* call("doctor", "--json", "--home", folder)
      const [diagnosis] = yield* Support.decodeLines(Shapes.Diagnosis, stdout)
      assert.strictEqual(status, diagnosis?.isHealthy === true ? 0 : 1)
      assert.includeMembers(diagnosis?.findings.map(({ topic }) => topic) ?? [], ["node", "virtualization", "home"])
      assert.deepStrictEqual(drivers, [])
      assert.include((yield* failing(2, "doctor", "--home", `/${"long/".repeat(40)}`)).message, "Invalid --home")
    })
  )

  test(
    "run a demo, and leave nothing",
    Effect.gen(function* () {
      const { stdout } = yield* succeeding("demo", "--image", "alpine:3", "--quiet")
      assert.match(stdout, /^Hello from a microVM, .*\.\n$/)
      const lines = yield* json(Schema.Union([BuildEvent, Shapes.Demo]), "demo", "--image", "alpine:3")
      assert.include(JSON.stringify(lines.at(-1)), "Hello from a microVM")
      const { sandboxes, snapshots } = yield* inventory
      assert.deepStrictEqual([sandboxes, snapshots], [[], []])
    })
  )

  test(
    "write a first definition",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { folder } = yield* Cli
      const file = Path.join(folder, "first.ts")
      const { stdout } = yield* succeeding("init", file, "--name", "first", "--image", "alpine:3")
      assert.include(stdout, `lightbox build ${file}`)
      const text = yield* fs.readFileString(file)
      assert.include(text, 'Snapshot.make("first", "alpine:3")')
      const { message } = yield* failing(2, "init", file)
      assert.include(message, "already exists; pass --overwrite to replace it")
      assert.strictEqual(yield* fs.readFileString(file), text)
      assert.deepStrictEqual(yield* json(Shapes.File, "init", file, "--overwrite"), [{ path: file }])
      assert.include(yield* fs.readFileString(file), 'Snapshot.make("hello", "alpine")')
      assert.include((yield* failing(2, "init", Path.join(folder, "no/where.ts"))).message, "Invalid FILE")
    })
  )
})

describe("lightbox", () => {
  test(
    "prints the package's version",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const manifest = JSON.parse(yield* fs.readFileString(Path.resolve(import.meta.dirname, "../../package.json")))
      assert.strictEqual((yield* succeeding("--version")).stdout, `lightbox v${manifest.version}\n`)
    })
  )

  test(
    "prints help for the command `help`, as git does",
    Effect.gen(function* () {
      assert.match((yield* succeeding("help")).stdout, /^DESCRIPTION\n/)
      assert.deepStrictEqual(yield* succeeding("help", "build"), yield* succeeding("build", "--help"))
    })
  )

  test(
    "accepts a volume that exists with labels, if none are given",
    Effect.gen(function* () {
      yield* succeeding("volume", "create", "labelled", "--label", "tier=ci")
      assert.strictEqual((yield* succeeding("volume", "create", "labelled")).stdout, "Volume labelled is ready\n")
      assert.include((yield* failing(1, "volume", "create", "labelled", "--label", "tier=dev")).message, "label")
      yield* succeeding("volume", "rm", "labelled")
    })
  )

  test(
    "accepts sizes and durations in their short forms",
    Effect.gen(function* () {
      yield* succeeding("prune", "--dry-run", "--max-bytes", "1G", "--older-than", "7d")
      yield* succeeding("sweep", "--dry-run", "--timeout", "5m")
      assert.include((yield* failing(2, "prune", "--max-bytes", "1X")).message, "--max-bytes")
      assert.include((yield* failing(2, "prune", "--older-than", "7y")).message, "--older-than")
    })
  )

  test(
    "says that a home does not exist yet",
    Effect.gen(function* () {
      const home = Path.join((yield* Cli).folder, "typo")
      const { stderr, stdout } = yield* succeeding("ls", "--home", home)
      assert.strictEqual(stderr, `note: ${home} does not exist yet\n`)
      assert.include(stdout, "no snapshots")
    })
  )

  test(
    "colors errors where colors are wanted",
    Effect.gen(function* () {
      vi.stubEnv("FORCE_COLOR", "1")
      assert.match((yield* ending(125)("run", "--snapshot", "absent")).stderr, /^\x1b\[31merror:\x1b\[39m /)
      const { call } = yield* Cli
      const doctor = call("doctor", "--home", Path.join(import.meta.dirname, "commands.test.ts"))
      assert.include((yield* doctor).stdout, "\x1b[31mPROBLEM\x1b[39m")
      vi.stubEnv("FORCE_COLOR", "0")
      assert.match((yield* doctor).stdout, /^PROBLEM +home/m)
      assert.match((yield* ending(125)("run", "--snapshot", "absent")).stderr, /^error: /)
    }).pipe(Effect.ensuring(Effect.sync(() => vi.unstubAllEnvs())))
  )

  test(
    "rejects unknown commands, flags and missing arguments",
    Effect.gen(function* () {
      assert.include((yield* failing(2, "frob")).message, "frob")
      assert.include((yield* failing(2, "ls", "--frob")).message, "--frob")
      assert.include((yield* failing(2, "rm")).message, "name")
      // Without the names of functions.
      assert.strictEqual(
        (yield* ending(1)("rm", "nope")).stderr,
        'error: There is no sandbox named "nope"\nhint: `lightbox ps` lists the sandboxes\n'
      )
      const { stderr, stdout } = yield* ending(2)("bild")
      assert.strictEqual(stdout, "")
      assert.strictEqual(
        stderr,
        'error: Unknown command "bild". Did you mean build?\nhint: lightbox --help shows the usage\n'
      )
      assert.match((yield* succeeding()).stdout, /^DESCRIPTION\n/)
    })
  )
})

/** What fingers trained on docker type. */
import { assert, describe } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Path from "node:path"
import { BuildEvent } from "../../src/BuildEvent.ts"
import * as Shapes from "../../src/internal/cli/json.ts"
import { Cli, decodeLines, definitions, detached, ending, failing, json, succeeding, test } from "./support.ts"

/** Runs a script in a new sandbox. */
const running = (...words: ReadonlyArray<string>) => succeeding("run", "--rm", ...words)

describe("run", () => {
  test(
    "takes -v for folders and volumes, -m for memory, and -l for labels",
    Effect.gen(function* () {
      const { folder, requests } = yield* Cli
      yield* running(
        "--image",
        "alpine:3",
        "-m",
        "1.5GB",
        "-l",
        "a=b",
        "-v",
        `${folder}:/work`,
        "-v",
        "c:/c:rw",
        "true"
      )
      yield* running("--image", "alpine:3", "-v", ".:/here:ro", "-m", "512m", "true")
      assert.deepStrictEqual(
        requests.map(({ config }) => [config.resources?.memory, config.mounts]),
        [
          [1536 * 1024 ** 2, { "/work": { bind: folder, readonly: false }, "/c": { volume: "c", readonly: false } }],
          [512 * 1024 ** 2, { "/here": { bind: ".", readonly: true } }]
        ]
      )
      assert.deepStrictEqual(requests[0]?.config.labels, { a: "b" })
    })
  )

  test(
    "takes a free port for -p without one, and prints it",
    Effect.gen(function* () {
      const { stderr } = yield* detached("web", "-p", "80", "-p", "127.0.0.1::443/tcp")
      assert.match(
        stderr,
        /^pulling alpine:3\n127\.0\.0\.1:\d+ forwards to port 80\n127\.0\.0\.1:\d+ forwards to port 443\n$/
      )
      assert.match((yield* succeeding("ps")).stdout, /\nweb .* \d+->80, \d+->443 /)
      assert.strictEqual((yield* detached("quiet", "-p", "80", "-q")).stderr, "")
    })
  )

  test(
    "takes variables from files",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { folder } = yield* Cli
      const [first, second, wrong] = ["first", "second", "wrong"].map((name) => Path.join(folder, name))
      yield* fs.writeFileString(first ?? "", "# comment\r\n\r\nA=1\r\nB= x = y \nHOME\nNOT_SET_HERE\n")
      yield* fs.writeFileString(second ?? "", "A=2\nC='3'")
      yield* fs.writeFileString(wrong ?? "", "A=1\n=hidden\n")
      yield* detached("web")
      const files = ["--env-file", first ?? "", "--env-file", second ?? ""]
      const script = 'echo "$A|$B|$C|$HOME|${NOT_SET_HERE-none}"'
      const [ended] = yield* json(Shapes.Ended, "exec", "-e", "C=4", ...files, "web", "sh", "-c", script)
      assert.strictEqual(ended?.stdout, `2| x = y |4|${process.env["HOME"]}|none\n`)
      yield* succeeding("job", "start", "web", ...files, "--id", "j", "sh", "-c", script)
      yield* succeeding("job", "wait", "web", "j")
      assert.match((yield* succeeding("job", "logs", "web", "j")).stdout, /^2\| x = y \|'3'\|/)
      const { message } = yield* failing(125, "exec", "--env-file", wrong ?? "", "web", "true")
      assert.include(message, "line 2 has no name")
      assert.notInclude(message, "hidden")
    })
  )

  test(
    "keeps a secret from the sandbox, and out of errors",
    Effect.gen(function* () {
      const { requests } = yield* Cli
      yield* running("--image", "alpine:3", "--secret", "TOKEN=a@b=c@example.com,*.example.org", "true")
      const { TOKEN } = requests[0]?.config.secrets ?? {}
      assert.deepStrictEqual(TOKEN?.hosts, ["example.com", "*.example.org"])
      assert.strictEqual(TOKEN === undefined ? "" : Redacted.value(TOKEN.value), "a@b=c")
      yield* running("--image", "alpine:3", "--secret", "HOME@example.com", "true")
      assert.deepStrictEqual(
        Object.values(requests[1]?.config.secrets ?? {}).map(({ value }) => Redacted.value(value)),
        [process.env["HOME"]]
      )
      for (const secret of ["T=s3cret", "=s3cret@example.com", "1 T=s3cret@no host"]) {
        assert.notInclude(
          JSON.stringify(yield* failing(125, "run", "--image", "a", "--secret", secret, "true")),
          "s3cret"
        )
      }
    })
  )

  test(
    "ends a command that takes too long with status 124, and limits a detached sandbox",
    Effect.gen(function* () {
      const { requests } = yield* Cli
      const ended = yield* ending(124)("run", "--image", "alpine:3", "--timeout", "0.1", "sleep", "1000")
      assert.include(ended.stderr, "took longer than 100 ms")
      assert.deepStrictEqual((yield* json(Shapes.Sandboxes, "ps"))[0], [])
      yield* detached("web", "--timeout", "1h30m")
      assert.deepStrictEqual(requests[1]?.config.maxDuration, Duration.minutes(90))
    })
  )

  test(
    "refuses flags that contradict each other",
    Effect.gen(function* () {
      const problem = (...words: ReadonlyArray<string>) =>
        Effect.map(ending(125)("run", "--image", "alpine:3", ...words), ({ stderr }) => stderr)
      assert.include(yield* problem("-d", "--rm"), "Invalid --rm: cannot be combined with --detach")
      assert.include(yield* problem("--detach-for", "5m", "--rm"), "Invalid --rm: cannot be combined with --detach-for")
      assert.include(yield* problem("-dt"), "Invalid --tty: cannot be combined with --detach")
      assert.include(yield* problem("-it", "sh"), "Invalid --tty: standard input and output are not a terminal")
      assert.strictEqual((yield* running("-i", "--image", "alpine:3", "true")).status, 0)
      assert.include((yield* failing(125, "run", "alpine", "ls")).hint, "run --image")
    })
  )
})

describe("build", () => {
  test(
    "takes --no-cache, and shows its progress as asked",
    Effect.gen(function* () {
      const file = definitions("two")
      yield* succeeding("build", file, "tools", "--quiet")
      assert.match((yield* succeeding("build", file, "tools", "--no-cache")).stdout, /steps: 2 run, 0 reused/)
      assert.include((yield* succeeding("plan", file, "tools", "--no-cache")).stdout, "2 of 2 steps to run.")
      const plain = yield* succeeding("build", file, "tools", "--no-cache", "--progress", "plain")
      assert.include(plain.stderr, "say one")
      assert.notInclude(plain.stderr, "\x1b")
      const live = yield* succeeding("build", file, "tools", "--no-cache", "--progress=tty")
      assert.include(live.stderr, "\x1b[?25l")
      const events = yield* succeeding("build", file, "tools", "--no-cache", "--progress", "json")
      assert.match(events.stdout, /^tools: generation \d+,/)
      const lines = yield* decodeLines(BuildEvent, events.stderr)
      assert.isTrue(lines.some(({ _tag }) => _tag === "StepStarted"))
      assert.include((yield* failing(2, "build", file, "--progress", "tty")).message, "Invalid --progress")
      assert.include((yield* failing(2, "build", file, "--no-cache", "--from", "1")).message, "Invalid --from")
      assert.include((yield* failing(2, "build", "--watch", "no/such.ts")).message, "there is no file no/such.ts")
    })
  )
})

describe("durations", () => {
  test(
    "are in seconds without a unit, and can be combined",
    Effect.gen(function* () {
      const { requests } = yield* Cli
      const forms = ["5", "5m", "36h", "7d", "2w", "1h30m", "10 minutes"]
      for (const [index, form] of forms.entries()) yield* detached(`s${index}`, "--max-duration", form)
      assert.deepStrictEqual(
        requests.map(({ config }) => config.maxDuration),
        [
          Duration.seconds(5),
          Duration.minutes(5),
          Duration.hours(36),
          Duration.days(7),
          Duration.weeks(2),
          Duration.minutes(90),
          Duration.minutes(10)
        ]
      )
      for (const [index, form] of ["5", "1.5", "300ms"].entries()) yield* succeeding("stop", "-t", form, `s${index}`)
      for (const wrong of ["5x", "m", "1h30", "-5", ""]) {
        assert.include((yield* failing(2, "stop", "s1", `--timeout=${wrong}`)).message, "--timeout")
      }
    })
  )
})

describe("wait", () => {
  test(
    "waits until sandboxes have a status",
    Effect.gen(function* () {
      for (const name of ["a", "b"]) yield* detached(name)
      const waiting = yield* Effect.forkScoped(succeeding("wait", "a", "b"))
      yield* succeeding("stop", "a")
      yield* succeeding("rm", "-f", "b")
      assert.strictEqual((yield* Fiber.join(waiting)).stdout, "a\nb\n")
      assert.deepStrictEqual(yield* json(Shapes.Changed, "wait", "a"), [{ stopped: ["a"] }])
      assert.deepStrictEqual(yield* json(Shapes.Changed, "wait", "b", "--status", "removed"), [{ removed: ["b"] }])

      const started = yield* Effect.forkScoped(succeeding("wait", "--status", "running", "a"))
      yield* succeeding("start", "a")
      assert.strictEqual((yield* Fiber.join(started)).stdout, "a\n")
      const { error, message } = yield* failing(1, "wait", "a", "-t", "0.1")
      assert.strictEqual(error?.reason._tag, "TimedOut")
      assert.include(message, "waiting until a is stopped")
      assert.strictEqual((yield* failing(1, "wait", "b")).error?.reason._tag, "NotFound")
      assert.include((yield* failing(2, "wait", "no name")).message, "Invalid NAME")
      assert.include((yield* failing(2, "wait", "a", "--status", "paused")).message, "--status")
    }).pipe(Effect.scoped)
  )
})

describe("lists", () => {
  test(
    "are filtered by their fields and labels",
    Effect.gen(function* () {
      yield* detached("web-1", "-l", "team=a", "-l", "tier=front")
      yield* detached("web-2", "-l", "team=b")
      yield* detached("db", "-l", "team=a")
      yield* succeeding("stop", "db")
      const names = (...filters: ReadonlyArray<string>) =>
        Effect.map(succeeding("ps", "-aq", ...filters.flatMap((filter) => ["-f", filter])), ({ stdout }) =>
          stdout.trim().split("\n").toSorted()
        )
      assert.deepStrictEqual(yield* names("status=running"), ["web-1", "web-2"])
      assert.deepStrictEqual(yield* names("Status=STOPPED"), ["db"])
      assert.deepStrictEqual(yield* names("label=team=a"), ["db", "web-1"])
      assert.deepStrictEqual(yield* names("label=tier"), ["web-1"])
      assert.deepStrictEqual(yield* names("label=team=a", "status=running"), ["web-1"])
      assert.deepStrictEqual(yield* names("label=team=a", "label=tier=front"), ["web-1"])
      assert.deepStrictEqual(yield* names("name=web-*"), ["web-1", "web-2"])
      assert.deepStrictEqual(yield* names("name=web"), [""])
      assert.deepStrictEqual(yield* names("name=db", "name=web-1"), ["db", "web-1"])
      assert.strictEqual((yield* succeeding("ps", "-f", "name=x")).stdout, "Nothing matches the filters.\n")
      const [found] = yield* json(Shapes.Sandboxes, "ps", "--filter", "name=db")
      assert.deepStrictEqual(
        found?.map(({ name }) => name),
        ["db"]
      )
      assert.include(
        (yield* failing(2, "ps", "-f", "colour=red")).message,
        "Invalid --filter: there is no field colour"
      )
      assert.include((yield* failing(2, "ps", "-f", "red")).message, "--filter")
    })
  )

  test(
    "are printed in a format",
    Effect.gen(function* () {
      yield* detached("a", "-l", "team=x")
      const { stdout: table } = yield* succeeding("ps")
      const printed = (format: string) =>
        Effect.map(succeeding("ps", "--format", format), ({ stdout }) => stdout.replace(/\n$/, ""))
      assert.strictEqual(`${yield* printed("table")}\n`, table)
      assert.strictEqual(yield* printed("name"), "a")
      assert.strictEqual(yield* printed("{{.Name}}\\t{{ .Status }} {{.labels.team}}{{.labels.none}}"), "a\trunning x")
      const { stdout } = yield* succeeding("ps", "--json")
      assert.strictEqual(`${yield* printed("json")}\n`, stdout)
      assert.strictEqual(`[${yield* printed("{{json .}}")}]\n`, stdout)
      assert.strictEqual(yield* printed("{{json .name}}"), '"a"')
      for (const wrong of ["{{.Nme}}", "nme", "{{", "no field", "{{.name}} }}", "{{range .}}"]) {
        assert.include((yield* failing(2, "ps", "--format", wrong)).message, "Invalid --format", wrong)
      }
      yield* succeeding("rm", "-f", "a")
      assert.strictEqual(yield* printed("{{.name}}"), "")
    })
  )

  test(
    "all take filters and formats",
    Effect.gen(function* () {
      yield* succeeding("build", definitions("two"), "--quiet")
      yield* detached("web")
      yield* succeeding("volume", "create", "cache")
      yield* succeeding("job", "start", "web", "--id", "server", "sleep", "1000")
      const printed = Effect.fnUntraced(function* (...words: ReadonlyArray<string>) {
        return (yield* succeeding(...words)).stdout.trim()
      })
      assert.strictEqual(yield* printed("ls", "-f", "name=t*", "--format", "name"), "tools")
      assert.strictEqual(yield* printed("ls", "tools", "--format", "{{.generation}} {{.isCurrent}}"), "1 true")
      assert.strictEqual(yield* printed("volume", "ls", "--format", "name", "-f", "kind=directory"), "cache")
      for (const images of [["images"], ["image", "ls"]]) {
        assert.strictEqual(yield* printed(...images, "-f", "reference=alpine:*", "--format", "reference"), "alpine:3")
      }
      assert.strictEqual(
        yield* printed("jobs", "web", "-f", "status=running", "--format", "{{.id}} {{.status}}"),
        "server running"
      )
      assert.strictEqual(yield* printed("top", "-f", "name=web", "--format", "name"), "web")
    })
  )
})

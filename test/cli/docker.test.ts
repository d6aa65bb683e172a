/** What fingers trained on docker type. */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Path from "node:path"
import { BuildEvent } from "../../src/BuildEvent.ts"
import * as Schema from "effect/Schema"
import * as Shapes from "../../src/internal/cli/json.ts"
import * as Lists from "../../src/internal/cli/lists.ts"
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

describe("run --detach with a command", () => {
  test(
    "runs it as a job, which starts again with the sandbox, and which logs points to",
    Effect.gen(function* () {
      yield* detached("web", "-e", "A=7", "sh", "-c", 'echo "began $A"; exec sleep 1000')
      const running = Effect.map(json(Shapes.Jobs, "jobs", "web"), ([all]) =>
        all?.map(({ id, sandbox, status }) => [id, sandbox, status._tag])
      )
      assert.deepStrictEqual(yield* running, [["main", "web", "Running"]])
      assert.strictEqual((yield* succeeding("job", "logs", "web", "main")).stdout, "began 7\n")
      assert.include(
        (yield* succeeding("logs", "web")).stderr,
        "note: jobs keep their own output: lightbox job logs web main"
      )
      assert.strictEqual((yield* succeeding("logs", "web", "--quiet")).stderr.includes("note:"), false)
      for (const words of [
        ["restart", "web"],
        ["commit", "web", "app"]
      ]) {
        yield* succeeding(...words)
        assert.deepStrictEqual(yield* running, [["main", "web", "Running"]], words.join(" "))
      }
      assert.strictEqual((yield* failing(127, "run", "-d", "--image", "alpine:3", "nonesuch")).status, 127)
      assert.strictEqual((yield* succeeding("ps", "-q")).stdout, "web\n")
    })
  )

  test(
    "lists the jobs of all sandboxes",
    Effect.gen(function* () {
      assert.strictEqual((yield* succeeding("jobs")).stdout, "There are no jobs.\n")
      for (const name of ["a", "b", "c"]) yield* detached(name, "sleep", "1000")
      yield* succeeding("stop", "c")
      for (const words of [["jobs"], ["job", "ls"]]) {
        const { stdout } = yield* succeeding(...words, "--format", "{{.sandbox}} {{.id}}")
        assert.deepStrictEqual(stdout.trim().split("\n").toSorted(), ["a main", "b main"])
      }
      assert.match((yield* succeeding("jobs", "-f", "sandbox=a")).stdout, /\nmain +a +running +\S.* +sleep 1000\n$/)
    })
  )
})

describe("mounts and ports", () => {
  test(
    "take the long forms of docker",
    Effect.gen(function* () {
      const { folder, requests } = yield* Cli
      const long = [`type=bind,source=${folder},target=/a,readonly`, "type=volume,src=c,dst=/c", "type=tmpfs,target=/t"]
      yield* running("--image", "alpine:3", ...long.flatMap((mount) => ["--mount", mount]), "--publish", "80", "true")
      yield* running("--image", "alpine:3", "--net", "none", "true")
      assert.deepStrictEqual(requests[0]?.config.mounts, {
        "/a": { bind: folder, readonly: true },
        "/c": { volume: "c", readonly: false },
        "/t": { tmpfs: true }
      })
      assert.deepStrictEqual(
        requests.map(({ config }) => [config.ports, config.network]),
        [
          [[{ host: 0, guest: 80, bind: undefined, protocol: "tcp" }], undefined],
          [undefined, "none"]
        ]
      )
      for (const wrong of ["type=bind,target=/a", "type=tmpfs,tmpfs-size=1m,target=/a", "type=nfs,src=a,target=/a"]) {
        assert.include((yield* failing(125, "run", "--mount", wrong, "--image", "alpine:3", "true")).message, "--mount")
      }
    })
  )
})

describe("what does not exist", () => {
  test(
    "is answered with the command that does it, in one line",
    Effect.gen(function* () {
      yield* detached("web")
      const answers: ReadonlyArray<readonly [status: number, typed: string, problem: string, hint: string]> = [
        [2, "list", 'Unknown command "list"', "lightbox ps"],
        [2, "container ls", 'Unknown command "container"', "lightbox ps"],
        [2, "attach web", 'Unknown command "attach"', "lightbox shell NAME"],
        [2, "update web --memory 2g", 'Unknown command "update"', "lightbox run"],
        [2, "image tag a b", 'Unknown command "image tag"', "lightbox tag"],
        [2, "snpshots", 'Unknown command "snpshots"', "lightbox --help"],
        [2, "imges", 'Unknown command "imges". Did you mean image', "lightbox --help"],
        [2, "kill -s TERM web", "Unknown flag -s of lightbox kill", "lightbox stop"],
        [2, "rm -fv web", "Unknown flag -v of lightbox rm", "lightbox volume rm"],
        [2, "commit -m text web app", "Unknown flag -m of lightbox commit", "--label"],
        [2, "ps -n 1", "Unknown flag -n of lightbox ps", "head"],
        [2, "ps --no-trunc", "Unknown flag --no-trunc of lightbox ps", "--json"],
        [2, "ps --formt json", "Unknown flag --formt of lightbox ps. Did you mean --format?", "lightbox ps --help"],
        [2, "cp web:/etc/hosts -", "Invalid DST: expected a path; `lightbox exec NAME tar -c PATH` streams", ""],
        [2, "cp - web:/", "Invalid SRC: expected a path; `lightbox exec -i NAME tar -x -C FOLDER` streams", ""],
        [2, "ps -f status=exited", 'Invalid --filter: no status is "exited"; expected created', ""],
        [125, "exec -d web true", "Unknown flag -d of lightbox exec", "lightbox job start"],
        [125, "run --restart always a", "Unknown flag --restart of lightbox run", "services"],
        [125, "run busybox", 'There is no snapshot named "busybox"', "`run --image busybox` boots an image"]
      ]
      for (const [status, typed, problem, hint] of answers) {
        const failure = yield* failing(status, ...typed.split(" "))
        assert.include(failure.message, problem, typed)
        assert.notInclude(failure.message, "\n", typed)
        assert.include(failure.hint ?? "", hint, typed)
        assert.notInclude(failure.hint ?? "", "\n", typed)
      }
      assert.strictEqual((yield* succeeding("ps", "-q")).stdout, "web\n")
    })
  )

  test(
    "of one kind is looked for among the others",
    Effect.gen(function* () {
      yield* detached("web")
      yield* succeeding("commit", "web", "app")
      assert.include((yield* failing(2, "rm", "app")).message, '"app" is the name of a snapshot; pass --snapshot')
      assert.strictEqual((yield* failing(1, "rm", "none")).error?.reason._tag, "NotFound")
    })
  )
})

describe("habits", () => {
  test(
    "that change nothing here are accepted",
    Effect.gen(function* () {
      yield* detached("web")
      for (const words of ["images -a", "image prune -af", "prune -f", "stats --no-stream", "stop --time 1 web"]) {
        yield* succeeding(...words.split(" "))
      }
      const version = yield* succeeding("--version")
      for (const word of ["version", "-v", "-V"]) assert.deepStrictEqual(yield* succeeding(word), version)
      assert.include((yield* failing(2, "volume", "prune", "-f")).message, "Invalid --label")
    })
  )
})

describe("inspect", () => {
  test(
    "takes a format, and a kind as a subcommand",
    Effect.gen(function* () {
      yield* detached("web", "-l", "team=a")
      yield* succeeding("volume", "create", "cache")
      const printed = Effect.fnUntraced(function* (...words: ReadonlyArray<string>) {
        return (yield* succeeding(...words)).stdout.trim()
      })
      assert.strictEqual(yield* printed("inspect", "-f", "{{.Status}} {{.labels.team}}", "web"), "running a")
      assert.strictEqual(yield* printed("inspect", "--format", "name", "web", "cache"), "web\ncache")
      assert.strictEqual(yield* printed("volume", "inspect", "-f", "{{.kind}}", "cache"), "directory")
      assert.strictEqual(yield* printed("image", "inspect", "-f", "reference", "alpine:3"), "alpine:3")
      const [all] = yield* json(Shapes.Inspected, "volume", "inspect", "cache")
      assert.deepStrictEqual(
        all?.map(({ type }) => type),
        ["volume"]
      )
      const line = yield* printed("inspect", "-f", "json", "web")
      assert.strictEqual(line, yield* printed("inspect", "--json", "web"))
      assert.include((yield* failing(2, "inspect", "-f", "{{.State.Status}}", "web")).message, "no field State")
      assert.strictEqual((yield* failing(1, "volume", "inspect", "web")).error?.reason._tag, "NotFound")
    })
  )
})

describe("logs", () => {
  test(
    "begin at a time, or at an age",
    Effect.gen(function* () {
      yield* detached("web")
      yield* succeeding("exec", "web", "echo", "one")
      const [first] = yield* json(Shapes.LogEntry, "logs", "web")
      const at = first === undefined ? Number.NaN : DateTime.toEpochMillis(first.timestamp)
      const since = (time: string) => Effect.map(succeeding("logs", "--since", time, "web"), ({ stdout }) => stdout)
      for (const time of ["5m", "1h30m", "2020-01-01", new Date(at).toISOString()]) {
        assert.strictEqual(yield* since(time), "one\n", time)
      }
      for (const time of ["2100-01-01T00:00:00Z", new Date(at + 1).toISOString()]) {
        assert.strictEqual(yield* since(time), "", time)
      }
      assert.include((yield* failing(2, "logs", "--since", "soon", "web")).message, "Expected a duration such as")
    })
  )
})

describe("tables", () => {
  it("say how long ago something was", () => {
    const [second, day] = [1000, 86_400_000]
    const ages: ReadonlyArray<readonly [millis: number, text: string]> = [
      [-5 * second, "now"],
      [999, "now"],
      [second, "1 second ago"],
      [59 * second, "59 seconds ago"],
      [60 * second, "1 minute ago"],
      [47 * 3600 * second, "47 hours ago"],
      [2 * day, "2 days ago"],
      [15 * day, "2 weeks ago"],
      [100 * day, "3 months ago"],
      [800 * day, "2 years ago"]
    ]
    for (const [millis, text] of ages) assert.strictEqual(Lists.age(millis), text)
  })

  it.effect.prop(
    "fit into the window, and keep every character",
    {
      rows: Schema.Array(Schema.Tuple([Schema.String, Schema.String, Schema.String])).check(Schema.isMinLength(1)),
      columns: Schema.Int.check(Schema.isBetween({ minimum: 20, maximum: 120 }))
    },
    ({ columns, rows }) =>
      Effect.sync(() => {
        const letters = (text: string) => text.replace(/\W/g, "")
        const shown = rows.map((row) => row.map(letters))
        const text = Lists.layOut(["NAME", "STATUS", "NOTE"], shown, columns)
        for (const line of text.split("\n")) assert.isAtMost(line.length, columns)
        const all = shown.flat().join("")
        for (const letter of new Set(all)) {
          assert.isAtLeast(text.split(letter).length, all.split(letter).length, letter)
        }
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

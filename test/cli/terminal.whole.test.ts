import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import { fileURLToPath } from "node:url"
import { definitions } from "./support.ts"
import * as Terminal from "./Terminal.ts"

const program = fileURLToPath(new URL("programs/lightbox.ts", import.meta.url))

const session = fileURLToPath(new URL("programs/session.ts", import.meta.url))

const web = fileURLToPath(new URL("programs/web.ts", import.meta.url))

const snapshots = fileURLToPath(new URL("../../src/Snapshot.ts", import.meta.url))

const attached = fileURLToPath(new URL("programs/attach.ts", import.meta.url))

const attachedToJob = fileURLToPath(new URL("programs/attachJob.ts", import.meta.url))

/** Calls the command line in a terminal, with a home that all calls of a test share. */
const making = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  // Holds sockets, whose paths must be short.
  const home = yield* fs.makeTempDirectoryScoped({ prefix: "t" })
  return Object.assign((...words: ReadonlyArray<string>) => Terminal.start([program, ...words], { MSB_HOME: home }), {
    home
  })
})

/** What a call leaves on the screen, and its status. */
const outcome = (terminal: Effect.Success<ReturnType<typeof Terminal.start>>) =>
  Effect.gen(function* () {
    const status = yield* terminal.ended
    return { status, lines: yield* terminal.screen.lines, ...(yield* terminal.screen.state) }
  })

const test = <A, E>(
  name: string,
  effect: Effect.Effect<A, E, NodeServices.NodeServices | Scope.Scope>,
  timeout = 60_000
) => it.live(name, () => Effect.provide(Effect.scoped(effect), NodeServices.layer), timeout)

test(
  "a build shows its progress, and leaves its result",
  Effect.gen(function* () {
    const lightbox = yield* making
    const { cursor, lines, status, wraps } = yield* outcome(yield* lightbox("build", definitions("two"), "tools"))
    assert.strictEqual(status, 0)
    assert.match(lines.join("\n"), /✔ .*say one[^]*\ntools: generation 1, steps: 2 run, 0 reused, [\d.]+ s$/)
    assert.deepStrictEqual([cursor, wraps], [[0, lines.length], true])
  })
)

test(
  "Ctrl-C stops a build, and leaves nothing of it",
  Effect.gen(function* () {
    const lightbox = yield* making
    const build = yield* lightbox("build", definitions("endless"))
    yield* build.until("begun")
    yield* build.type("\x03")
    const { lines, status } = yield* outcome(build)
    assert.strictEqual(status, 130)
    assert.match(lines.join("\n"), /interrupted/)
    const lists = ["ps --quiet", "ls --quiet", "sweep --dry-run --quiet"]
    const left = yield* outcome(yield* Terminal.start([session, ...lists], { MSB_HOME: lightbox.home }))
    assert.deepStrictEqual(left.lines, ["$ ps", "$ ls", "$ sweep"])
  })
)

test(
  "a shell is interactive, and passes on its exit status",
  Effect.gen(function* () {
    const lightbox = yield* making
    const shell = yield* lightbox("run", "--image", "alpine:3")
    yield* shell.type('echo "it is $((6 * 7))"; test -t 0 && echo a terminal; exit 5\r')
    const { lines, status } = yield* outcome(shell)
    assert.strictEqual(status, 5)
    assert.match(lines.join("\n"), /\nit is 42\na terminal/)
    assert.deepStrictEqual((yield* outcome(yield* lightbox("ps", "--quiet"))).lines, [])
  })
)

test(
  "a shell follows the terminal's size, and ends on Ctrl+]",
  Effect.gen(function* () {
    const shell = yield* Terminal.start([attached], {})
    yield* shell.type("sleep 1d & stty size\r")
    yield* shell.until(/^30 100$/m)
    assert.strictEqual(yield* shell.resize(120, 40), 0)
    yield* shell.type('until [ "$(stty size)" = "40 120" ]; do sleep 0.01; done; echo followed | tr a-z A-Z\r')
    yield* shell.until("FOLLOWED")
    yield* shell.type("\x1d")
    const { lines, status } = yield* outcome(shell)
    assert.strictEqual(status, 0)
    assert.match(lines.join("\n"), /\nstatus 0, 0 processes, raw false$/)
  })
)

test(
  "a job runs on when Ctrl+] leaves it, and shows what it wrote to who attaches again",
  Effect.gen(function* () {
    const shell = yield* Terminal.start([attachedToJob], {})
    const sized = (size: string, word: string) =>
      shell.type(`until [ "$(stty size)" = "${size}" ]; do sleep 0.01; done; echo ${word} | tr a-z A-Z\r`)
    yield* sized("30 100", "first")
    yield* shell.until(/^FIRST$/m)
    yield* shell.type("\x1d")
    yield* shell.until(/^Running, raw false\n[^]*^FIRST$/m)
    assert.strictEqual(yield* shell.resize(120, 40), 0)
    yield* sized("40 120", "second")
    yield* shell.until(/^SECOND$/m)
    yield* shell.type("exit 3\r")
    const { lines, status } = yield* outcome(shell)
    assert.strictEqual(status, 0)
    assert.match(lines.join("\n"), /\n\{"_tag":"Exited","exitCode":3\}, raw false$/)
  })
)

test(
  "exec -it runs a command on this terminal",
  Effect.gen(function* () {
    const shell = yield* Terminal.start([web, "exec", "-it", "-e", "A=7", "web", "sh"], {})
    yield* shell.type('echo "it is $((6 * A))"; test -t 0 && echo a terminal; exit 5\r')
    const { lines, status } = yield* outcome(shell)
    assert.strictEqual(status, 5)
    assert.match(lines.join("\n"), /\nit is 42\na terminal/)
  })
)

test(
  "exec passes bytes on as they are, and input only with -i",
  Effect.gen(function* () {
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const inShell = (script: string) =>
      spawner.string(ChildProcess.make("bash", ["-c", script, process.execPath, web], { extendEnv: true }))
    const bytes = "printf '\\377\\0\\n' |"
    assert.strictEqual(yield* inShell(`${bytes} "$0" "$1" exec -i web cat | od -An -tx1`), " ff 00 0a\n")
    assert.strictEqual(yield* inShell(`${bytes} "$0" "$1" exec web cat | wc -c | tr -d ' '`), "0\n")
    assert.strictEqual(
      yield* inShell(`"$0" "$1" exec web sh -c 'echo out; echo err >&2; exit 3' 2>&1 > /dev/null; echo $?`),
      "err\n3\n"
    )
  })
)

test(
  "a command ends with its sandbox when nobody reads its output any more",
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const home = yield* fs.makeTempDirectoryScoped({ prefix: "t" })
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const inShell = (script: string) =>
      spawner.string(
        ChildProcess.make("bash", ["-c", script, process.execPath, program], {
          env: { MSB_HOME: home },
          extendEnv: true
        })
      )
    const endless = '"$0" "$1" run --image alpine:3 -- sh -c "while :; do echo more; done"'
    assert.strictEqual(yield* inShell(`${endless} | head -1; echo \${PIPESTATUS[0]}`), "more\n141\n")
    assert.strictEqual(yield* inShell('"$0" "$1" ps --quiet'), "")
  })
)

test(
  "build --watch builds again when a copied file or the module changes, and Ctrl-C ends it",
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const lightbox = yield* making
    const folder = yield* fs.makeTempDirectoryScoped()
    const file = `${folder}/watched.ts`
    const write = (more: string) =>
      fs.writeFileString(
        file,
        `import * as Snapshot from ${JSON.stringify(snapshots)}
export const watched = Snapshot.make("watched", "alpine:3").pipe(${more}Snapshot.copy("${folder}/copied", "/srv/copied"))`
      )
    yield* fs.makeDirectory(`${folder}/copied/inner`, { recursive: true })
    yield* fs.writeFileString(`${folder}/copied/inner/file`, "1")
    yield* write("")
    const build = yield* lightbox("build", "--watch", file)
    yield* build.until(/generation 1,[^]*Ctrl\+C ends/)
    yield* fs.writeFileString(`${folder}/copied/inner/file`, "2")
    yield* build.until(/generation 2,[^]*Ctrl\+C ends/)
    yield* write('Snapshot.shell("true"), ')
    yield* build.until(/generation 3,[^]*Ctrl\+C ends/)
    yield* build.type("\x03")
    assert.strictEqual((yield* outcome(build)).status, 130)
    assert.deepStrictEqual((yield* outcome(yield* lightbox("ps", "--quiet"))).lines, [])
  }),
  // Four processes, one after the other.
  180_000
)

test(
  "Ctrl-C stops a build that --watch runs, and leaves nothing of it",
  Effect.gen(function* () {
    const lightbox = yield* making
    const build = yield* lightbox("build", "--watch", definitions("endless"))
    yield* build.until("begun")
    yield* build.type("\x03")
    const { lines, status } = yield* outcome(build)
    assert.strictEqual(status, 130)
    assert.match(lines.join("\n"), /interrupted/)
    assert.deepStrictEqual((yield* outcome(yield* lightbox("ps", "--quiet"))).lines, [])
  })
)

test(
  "top is live on a screen of its own, follows the window's size, and leaves the terminal as it was",
  Effect.gen(function* () {
    const shell = yield* Terminal.start(
      [session, "run -d --image alpine:3 --name web sleep 1000", "top --interval 100ms", "columns 60", "top"],
      {}
    )
    yield* shell.until(/^web .* detached/m)
    assert.notInclude((yield* shell.screen.lines).join("\n"), "$ run")
    assert.strictEqual(yield* shell.resize(24, 6), 0)
    yield* shell.until(/^NAME +CPU +MEMORY$/m)
    yield* shell.type("q")
    yield* shell.until(/^\$ columns$/m)
    assert.strictEqual(yield* shell.resize(60, 20), 0)
    yield* shell.until(/^NAME .* LEASE/m)
    yield* shell.type("\x03")
    const { cursor, lines, status, wraps } = yield* outcome(shell)
    assert.strictEqual(status, 130)
    assert.deepStrictEqual(lines, ["$ run", "pulling alpine:3", "web", "$ top", "$ columns", "$ top"])
    assert.deepStrictEqual([cursor, wraps], [[0, 6], true])
  })
)

/** What follows each call in a session, up to the next one. */
const allAfter = (lines: ReadonlyArray<string>, call: string): ReadonlyArray<string> =>
  lines.flatMap((line, at) => {
    if (line !== call) return []
    const length = lines.slice(at + 1).findIndex((line) => line.startsWith("$ "))
    return [lines.slice(at + 1, length < 0 ? undefined : at + 1 + length).join("\n")]
  })

/** What follows the last such call. */
const after = (lines: ReadonlyArray<string>, call: string) => allAfter(lines, call).at(-1) ?? ""

test(
  "what commands print fits into 80 columns, and into 40",
  Effect.gen(function* () {
    const lists = [
      "commit web app --label by=hand",
      "tag app@1 old",
      "ps",
      "jobs",
      "images",
      "volume ls",
      "ls",
      "history tools",
      "builds",
      "builds show tools",
      "builds compare tools tools",
      "diff web",
      "top --once",
      "run --help",
      "--help",
      "inspect -f {{.name}}/{{.status}} web",
      "inspect web"
    ]
    const shell = yield* Terminal.start(
      [
        session,
        `build -q ${definitions("two")} tools`,
        "run -d --image alpine:3 --name web -p 80 -v cache:/cache sleep 1000",
        "exec web touch /etc/a-file-with-a-name-that-is-too-long-for-a-narrow-window",
        ...lists,
        "columns 40",
        ...lists.map((line) => line.replace("old", "older")),
        "proxy -p 0"
      ],
      {},
      { columns: 80, rows: 30 }
    )
    yield* shell.until(/^\$ columns$/m)
    const wide = yield* shell.screen.lines
    // The values of JSON are not broken.
    const fits = Effect.map(shell.screen.broken, (broken) =>
      assert.deepStrictEqual(
        broken.filter((y) => y > wide.lastIndexOf("$ ps") && y < wide.lastIndexOf("$ inspect")),
        []
      )
    )
    yield* fits
    assert.match(after(wide, "$ commit"), /^Captured web as app, generation 1$/)
    assert.match(after(wide, "$ tag"), /^old now points to app@1$/)
    assert.match(after(wide, "$ ps"), /^NAME +STATUS .*CREATED\nweb +running +alpine:3 .* \d+->80 +\S.*$/)
    assert.match(after(wide, "$ jobs"), /^ID +SANDBOX +STATUS .*\nmain +web +running .* sleep 1000$/)
    assert.match(after(wide, "$ images"), /^IMAGE +DIGEST .*\nalpine:3 +[0-9a-f]{12} /)
    assert.match(after(wide, "$ ls"), /^NAME +GENERATION .*\napp +1 .*\nold +1 .*\ntools +1 /)
    assert.match(after(wide, "$ history"), /^GENERATION .*\ntools@1 \(current\) .* from alpine:3\n +say one\n/)
    const [list = "", show = "", compare = ""] = allAfter(wide, "$ builds")
    assert.match(list, /^ID +SNAPSHOT +STATUS +STEPS .*\n\S+ +tools +built +2 run +\S+ +\S+/)
    assert.match(show, /\n {3}1 {2}say one\n {6}ran, \S+\n {6}why: never built\n {6}│ one\n/)
    assert.match(compare, /\nsame +ran \S+ +ran \S+ +say one\n/)
    assert.match(
      after(wide, "$ diff"),
      /^KIND +SIZE +CHANGES +PATH\n(.*\n)*A +0 +\/etc\/a-file-with-a-name-that-is-too-/
    )
    assert.match(after(wide, "$ inspect"), /^\[\n {2}\{\n {4}"type": "sandbox",\n {4}"name": "web",\n/)

    assert.strictEqual(yield* shell.resize(40, 30), 0)
    yield* shell.until(/^\$ proxy\nServing http:/m)
    yield* shell.type("\x03")
    const { lines: all, status } = yield* outcome(shell)
    assert.strictEqual(status, 130)
    const narrow = all.slice(all.lastIndexOf("$ columns"))
    assert.match(after(wide, "$ run"), /\n {2}--label, -l KEY=VALUE +Add a label\n/)
    assert.match(after(narrow, "$ run"), /\n {2}--workdir, -w PATH\n {6}Working directory of the command\n/)
    assert.match(after(narrow, "$ commit"), /^Captured web as app, generation 2$/)
    assert.match(after(narrow, "$ ps"), /^NAME {6}web\nSTATUS {4}running\nIMAGE {5}alpine:3\n/)
    assert.match(after(narrow, "$ jobs"), /^ID {8}.*\nSANDBOX {3}web\n(.*\n)*COMMAND {3}sleep 1000$/)
    assert.match(after(narrow, "$ history"), /\nSTEP +from alpine:3\n/)
    const [narrowList = "", narrowShow = ""] = allAfter(narrow, "$ builds")
    assert.match(narrowList, /^ID +\S+\nSNAPSHOT +tools\nSTATUS +built\n/)
    assert.match(narrowShow, /\n {6}why: never built\n/)
    assert.match(after(narrow, "$ diff"), /\nPATH +\/etc\/a-file-with-a-name\S*\n +\S+/)
    const broken = yield* shell.screen.broken
    const [from, to] = [all.lastIndexOf("$ ps"), all.lastIndexOf("$ inspect")]
    assert.deepStrictEqual(
      broken.flatMap((y) => (y > from && y < to ? [all[y]] : [])),
      []
    )
  }),
  120_000
)

/** Hostile input: files to load and names; and secrets on their way out. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Tar from "modern-tar"
import * as Fs from "node:fs"
import { inspect } from "node:util"
import type { Services } from "../../src/Driver.ts"
import * as BuildReporter from "../../src/BuildReporter.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"

const image = "plain"

// Holds sockets, whose paths must be short.
const makeFolder = FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped({ prefix: "s" }))

const twin = (home: string) => Layer.fresh(MicrosandboxMemory.layer({ home }))

/** Everything below a folder, with the content of files, except this process's own records. */
const listing = (folder: string): ReadonlyArray<string> =>
  Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => !/(^|\/)lightbox(\/|$)/.test(path))
    .toSorted()
    .map((path) => {
      const stats = Fs.lstatSync(`${folder}/${path}`)
      return `${path} ${stats.mode} ${stats.isFile() ? Fs.readFileSync(`${folder}/${path}`, "latin1") : ""}`
    })

// =============================================================================
// Files to load
// =============================================================================

const key = "a".repeat(64)
const artifact = `lb-${"a".repeat(40)}`

const manifest = (
  fields: { readonly [field: string]: unknown } = {},
  generation: { readonly [field: string]: unknown } = {}
) => ({
  header: { name: "lightbox.json" },
  body: JSON.stringify({
    format: 1,
    name: "loaded",
    current: 1,
    generations: [{ generation: 1, key, artifact, labels: {}, createdAt: 0, ...generation }],
    ...fields
  })
})

const archive = (header: Partial<Tar.TarHeader> = {}, body = "no archive") => ({
  header: { name: "generation-1.msb", ...header },
  body
})

interface Entry {
  readonly header: Partial<Tar.TarHeader> & { readonly name: string }
  readonly body?: string
}

const pack = (entries: ReadonlyArray<Entry>): Effect.Effect<Uint8Array> =>
  Effect.promise(() =>
    Tar.packTar(
      entries.map(({ body, header }) =>
        body === undefined || (header.type !== undefined && header.type !== "file")
          ? { header: { size: 0, ...header } }
          : { header: { ...header, size: Buffer.byteLength(body) }, body }
      )
    )
  )

/** `ROOT` holds, beside the home, what must not be changed or read. */
const hostile = (root: string): { readonly [what: string]: ReadonlyArray<Entry> } => {
  const link = (type: "symlink" | "link", linkname: string): Entry => ({
    header: { name: "generation-1.msb", type, linkname }
  })
  const device = (type: "character-device" | "block-device" | "fifo"): Entry => ({
    header: { name: "generation-1.msb", type }
  })
  return {
    "a path upwards": [manifest(), archive({ name: "../../../../outside" })],
    "a path upwards in the middle": [manifest(), archive({ name: "x/../../../../../outside" })],
    "an absolute path": [manifest(), archive({ name: `${root}/outside` })],
    "a symbolic link to a file": [manifest(), link("symlink", `${root}/secret`)],
    "a symbolic link upwards": [manifest(), link("symlink", "../../../../../secret"), archive()],
    "a symbolic link to a folder, and a file in it": [
      manifest(),
      { header: { name: "d", type: "symlink", linkname: root } },
      archive({ name: "d/outside" })
    ],
    "a hard link": [manifest(), link("link", `${root}/secret`)],
    "a hard link upwards": [manifest(), link("link", "../../../../../secret"), archive()],
    "a character device": [manifest(), device("character-device")],
    "a block device": [manifest(), device("block-device")],
    "a pipe": [manifest(), device("fifo")],
    "a folder in the place of a file": [manifest(), { header: { name: "generation-1.msb/", type: "directory" } }],
    "a link in the place of the list": [
      { header: { name: "lightbox.json", type: "symlink", linkname: `${root}/secret` } }
    ],
    "a list that is none": [{ header: { name: "lightbox.json" }, body: "{" }, archive()],
    "no archive": [manifest()],
    "another archive": [manifest(), archive()],
    "a name upwards": [manifest({ name: "../outside" }), archive()],
    "an absolute name": [manifest({ name: `${root}/outside` }), archive()],
    "an artifact upwards": [manifest({}, { artifact: "../../outside" }), archive()],
    "an absolute artifact": [manifest({}, { artifact: `${root}/secret` }), archive()],
    "the artifact of another key": [manifest({}, { artifact: `lb-${"b".repeat(40)}` }), archive()],
    "a key that is none": [manifest({}, { key: "../../outside", artifact: "lb-../../outside" }), archive()],
    "a generation that is no number": [manifest({}, { generation: "../../outside" }), archive()],
    "a generation that is a fraction": [manifest({}, { generation: 1.5 }), archive()],
    "no generations": [manifest({ generations: [] }), archive()],
    "another format": [manifest({ format: 2 }), archive()]
  }
}

layer(NodeServices.layer, { excludeTestServices: true })("a hostile snapshot file", (it) => {
  it.effect("is rejected and writes nothing, whatever it contains", () =>
    Effect.gen(function* () {
      const root = yield* makeFolder
      const home = `${root}/home`
      Fs.writeFileSync(`${root}/secret`, "secret")
      const hostileFiles = hostile(root)
      yield* Effect.gen(function* () {
        for (const [what, entries] of Object.entries(hostileFiles)) {
          const path = `${root}/file`
          Fs.writeFileSync(path, yield* pack(entries))
          const before = listing(root)
          const error = yield* Effect.flip(Snapshot.load(path))
          assert.include(["SnapshotDamaged", "FileError", "NotFound"], error.reason._tag, what)
          assert.deepStrictEqual(listing(root), before, what)
          assert.deepStrictEqual(yield* Snapshot.list({ layers: true }), [], what)
        }
      }).pipe(Effect.provide(twin(home)))
      yield* Console.log(`files to load refused: ${Object.keys(hostileFiles).length}`)
    })
  )
})

// =============================================================================
// Names
// =============================================================================

const names = [
  "",
  ".",
  "..",
  "../outside",
  "..\\outside",
  "/etc/passwd",
  "a/b",
  "a/../../b",
  ".hidden",
  "-rf",
  "a b",
  "a\0b",
  "a\nb",
  "\u001b[31mred",
  "a\u202eb",
  "$(touch outside)",
  "`touch outside`",
  "a;b",
  "a%2fb",
  "x".repeat(300)
]

type Use = (name: string) => Effect.Effect<unknown, LightboxError, Services | MicrosandboxMemory.Control>

const uses: { readonly [what: string]: Use } = {
  "Sandbox.launch": (name) => Sandbox.run({ image, name }, () => Effect.void),
  "Sandbox.connect": (name) => Effect.scoped(Sandbox.connect(name)),
  "Sandbox.start": (name) => Effect.scoped(Sandbox.start(name)),
  "Sandbox.remove": (name) => Sandbox.remove(name, { force: true }),
  "Snapshot.build": (name) => Snapshot.build(Snapshot.make(name, image)),
  "Snapshot.buildScoped": (name) => Effect.scoped(Snapshot.buildScoped(Snapshot.make(name, image))),
  "Snapshot.get": (name) => Snapshot.get(name),
  "Snapshot.generations": (name) => Snapshot.generations(name),
  "Snapshot.remove": (name) => Snapshot.remove(name),
  "Snapshot.rollback": (name) => Snapshot.rollback(name),
  "Snapshot.save": (name) => Snapshot.save(name, "/nonexistent/file"),
  "Volume.ensure": (name) => Volume.ensure(name),
  "Volume.get": (name) => Volume.get(name),
  "Volume.exists": (name) => Volume.exists(name),
  "Volume.remove": (name) => Volume.remove(name)
}

layer(NodeServices.layer, { excludeTestServices: true })("a name", (it) => {
  it.effect("that could be a path, a command or an escape sequence is rejected before anything happens", () =>
    Effect.gen(function* () {
      const root = yield* makeFolder
      yield* Effect.gen(function* () {
        const control = yield* MicrosandboxMemory.Control
        const before = listing(root)
        for (const [what, use] of Object.entries(uses)) {
          for (const name of names) {
            const exit = yield* Effect.exit(use(name))
            const error = Exit.isFailure(exit) ? Cause.findErrorOption(exit.cause) : undefined
            const tag = error?._tag === "Some" ? error.value.reason._tag : "none"
            assert.strictEqual(tag, "InvalidConfig", `${what} of ${JSON.stringify(name)}`)
          }
        }
        assert.deepStrictEqual(yield* control.calls, [])
        assert.deepStrictEqual(listing(root), before)
      }).pipe(Effect.provide(twin(`${root}/home`)))
      yield* Console.log(`names refused: ${names.length * Object.keys(uses).length}`)
    })
  )
})

// =============================================================================
// Secrets
// =============================================================================

const toJson = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? String(part) : part))

layer(NodeServices.layer, { excludeTestServices: true })("a secret", (it) => {
  it.effect("appears nowhere in the home or the output, whether the build succeeds, fails or leaks it", () =>
    Effect.gen(function* () {
      const root = yield* makeFolder
      const values = ["s3cret-in-a-variable", "s3cret-in-a-file", "s3cret-in-an-argument", "s3cret-that-is-kept"]
      const [variable = "", file = "", argument = "", kept = ""] = values
      const said: Array<string> = []
      const reporter = yield* BuildReporter.terminal({ output: { write: (text: string) => void said.push(text) } })
      const logger = Logger.make(({ cause, message }) => {
        said.push(inspect([message, cause], { depth: null }))
      })
      const secrets = {
        TOKEN: Redacted.make(variable),
        KEY: { value: Redacted.make(file), as: "file" as const }
      }
      const clean = Snapshot.make("clean", image).pipe(
        Snapshot.shell('echo "$TOKEN"; cat /run/secrets/KEY; echo "$TOKEN" >&2; echo done > /root/done', { secrets }),
        Snapshot.exec("echo", [Redacted.make(argument)])
      )
      const failing = clean.pipe(
        Snapshot.shell('echo "failing with $TOKEN"; cat /run/secrets/KEY >&2; exit 7', {
          secrets,
          description: `as ${variable}`
        })
      )
      const keeping = clean.pipe(
        Snapshot.shell('echo "$KEPT" > /root/kept; rm /root/kept', { secrets: { KEPT: Redacted.make(kept) } })
      )
      yield* Effect.gen(function* () {
        const onEvent: Snapshot.BuildOptions["onEvent"] = (event) =>
          Effect.andThen(
            Effect.sync(() => void said.push(JSON.stringify(event))),
            reporter(event)
          )
        const build = (definition: typeof clean) =>
          Effect.exit(Snapshot.build(definition, { onEvent, checkpoints: "every-step" }))
        const exits = [yield* build(clean), yield* build(failing), yield* build(keeping)]
        const tags = exits.map((exit) => {
          const error = Exit.isFailure(exit) ? Cause.findErrorOption(exit.cause) : undefined
          return error?._tag === "Some" ? error.value.reason._tag : "none"
        })
        assert.deepStrictEqual(tags, ["none", "CommandFailed", "SecretLeaked"])
        for (const exit of exits) {
          said.push(inspect(exit, { depth: null }), toJson(exit))
          if (Exit.isFailure(exit)) said.push(Cause.pretty(exit.cause))
        }
        yield* Effect.logInfo(exits)
        yield* Snapshot.save("clean", `${root}/saved`)
        said.push(toJson(yield* Snapshot.list({ layers: true })))
        said.push(inspect(yield* Snapshot.plan(keeping), { depth: null }))
      }).pipe(Effect.provide([twin(`${root}/home`), Logger.layer([logger])]))

      const files = Fs.readdirSync(root, { recursive: true, encoding: "utf8" })
        .map((path) => `${root}/${path}`)
        .filter((path) => Fs.lstatSync(path).isFile())
      assert.isAbove(files.length, 10)
      assert.isAbove(said.length, 20)
      for (const value of values) {
        assert.deepStrictEqual(
          files.filter((path) => path.includes(value) || Fs.readFileSync(path).includes(value)),
          [],
          `files with ${value}`
        )
        assert.deepStrictEqual(
          said.filter((text) => text.includes(value)),
          [],
          `what was said with ${value}`
        )
      }
    })
  )

  it.effect.each([
    { how: "without the end of its line", value: "t0ken-from-a-file\n", script: 'printf %s "$(echo "$TOKEN")"' },
    { how: "indented", value: "--BEGIN--\nfirst-line-of-it\n--END--\n", script: 'echo "$TOKEN" | sed "s/^/    /"' },
    { how: "without its first line", value: "first-line\nsecond-line\n", script: 'echo "$TOKEN" | tail -n 2' },
    { how: "from a file with CRLF", value: "one-long-line\r\ntwo-long-line\r\n", script: "echo two-long-line" }
  ])("is found on the disk $how", ({ script, value }) =>
    Effect.gen(function* () {
      const definition = Snapshot.make("leaks", image).pipe(
        Snapshot.shell(`${script} > /root/config`, { secrets: { TOKEN: Redacted.make(value) } })
      )
      const error = yield* Effect.flip(Snapshot.build(definition))
      assert.deepInclude(error.reason, { _tag: "SecretLeaked", secret: "TOKEN" })
    }).pipe(Effect.provide(MicrosandboxMemory.layer({ images: { [image]: {} } }), { local: true }))
  )

  it.effect("of a step appears in no error of a function run in the build", () =>
    Effect.gen(function* () {
      const value = "s3cret-of-a-step"
      const definition = Snapshot.make("says", image).pipe(
        Snapshot.shell("true", { secrets: { TOKEN: Redacted.make(value) } }),
        Snapshot.step("says", (sandbox) => sandbox.shell(`echo ${value} >&2; exit 1`, { check: true }))
      )
      const error = yield* Effect.flip(Snapshot.build(definition))
      assert.include(error.message, "<redacted>")
      assert.notInclude(inspect(error, { depth: null }) + JSON.stringify(error), value)
    }).pipe(Effect.provide(MicrosandboxMemory.layer({ images: { [image]: {} } }), { local: true }))
  )
})

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Cbor from "cborg"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Keys from "../src/internal/plan/keys.ts"
import * as Units from "../src/internal/plan/units.ts"
import * as Snapshot from "../src/Snapshot.ts"
import { temporary } from "./support.ts"

const base = Snapshot.make("tools", "debian:12")

const imageDigest = `sha256:${"0123456789abcdef".repeat(4)}`

const unitsOf = <E, R>(definition: Snapshot.Definition<E, R>, nonce = "nonce", digest = imageDigest) =>
  Effect.flatMap(Units.prepare("Snapshot.plan", definition), ({ units }) =>
    Keys.keyUnits("Snapshot.plan", units, digest, nonce, () => Effect.die("it copies from no other definition"))
  )

const keysOf = <E, R>(definition: Snapshot.Definition<E, R>, nonce?: string, digest?: string) =>
  Effect.map(unitsOf(definition, nonce, digest), (units) => units.map(({ key }) => key))

const keyOf = <E, R>(definition: Snapshot.Definition<E, R>) =>
  Effect.map(keysOf(definition), (keys) => keys.at(-1) ?? "")

/** The number of different keys. */
const distinct = Effect.fnUntraced(function* (...definitions: ReadonlyArray<Snapshot.Definition<unknown, unknown>>) {
  return new Set(yield* Effect.forEach(definitions, keyOf)).size
})

const Word = Schema.String.check(Schema.makeFilter((word) => word.isWellFormed() && !word.includes("\0")))

const Words = Schema.Array(Word)

describe("plan", () => {
  it.effect("keeps the keys of earlier versions", () =>
    Effect.gen(function* () {
      const definition = base.pipe(
        Snapshot.env({ B: "2", A: "1" }),
        Snapshot.workdir("/work"),
        Snapshot.shell("make", { login: true, network: "none" }),
        Snapshot.user("app"),
        Snapshot.exec("cp", ["a b", "c"], { env: { C: "3" } }),
        Snapshot.write("/etc/motd", "hello\n", { mode: 0o600, owner: { uid: 1, gid: 2 } }),
        Snapshot.step("seed", () => Effect.void, { key: "v1" })
      )
      // Other keys for the same steps would discard everyone's results: only a new `builderVersion` may do that.
      assert.deepStrictEqual(yield* keysOf(definition), [
        "255c089f92dc965e1a1eea9da4319cc898fb5621f7ec142998826779c8c40c72",
        "a4c9a1cfe9db07ecb0a8136b84516a5732d5bbd7e749c409046a8b712e1e7dcc",
        "9c04f8aaead15651fcedef32d605c82a14b900dc251e28a2ba02ff930d6e2e8a",
        "933a998486181359829582a472b460385738475fb9699c7fd8d595035c07f8e0",
        "20883fca64da6e3df7074e9a0809c28f8c8bad26b8795a0d4a7addcb02932d3f"
      ])
      assert.strictEqual(Keys.baseKey(imageDigest), "7ec396ccf2b86dacf050543adb35e520898c9317d74a0215ae82fdd23f175e0a")
    })
  )

  it.effect("gives copied files the keys that it gave before", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const write = (name: string, content: string, mode: number) => {
        Fs.writeFileSync(Path.join(folder, name), content)
        Fs.chmodSync(Path.join(folder, name), mode)
      }
      Fs.mkdirSync(Path.join(folder, "bin"))
      Fs.chmodSync(Path.join(folder, "bin"), 0o755)
      write("bin/run", "#!/bin/sh\n", 0o755)
      write("é \u{1F600}", "x".repeat(70_000), 0o640)
      write("é \uFB00é", "", 0o640)
      const definition = base.pipe(
        Snapshot.copy(folder, "/srv"),
        Snapshot.copy(folder, "/two", { mode: 0o600, ignore: ["link"], owner: { uid: 1, gid: 2 } })
      )
      assert.deepStrictEqual(yield* keysOf(definition), [
        "d9a8d51d9557e78ec9fb590f251d9599b8b1537e437be1942fbb02ddfe8ca854",
        "e610e4981a6e8e340124f4c905b08adbb5c4a8b7a006cee350fa471b89b587d8"
      ])
    })
  )

  it.effect.prop("encodes names of files as CBOR does", [Schema.Record(Word, Schema.String)], ([texts]) =>
    Effect.sync(() => {
      const well = Object.entries(texts).map(([name, text]) => [name, text.toWellFormed()] as const)
      assert.deepStrictEqual(Buffer.from(Keys.encodeTexts(well)), Buffer.from(Cbor.encode(Object.fromEntries(well))))
    })
  )

  it.effect("encodes many names, long ones and astral ones as CBOR does", () =>
    Effect.sync(() => {
      const names = [
        "a",
        "b",
        "__proto__",
        "10",
        "9",
        "\u{1F600}",
        "\uFB00x",
        "é",
        "x".repeat(30),
        "y".repeat(300),
        "z".repeat(70_000)
      ]
      const texts = [...names, ...Array.from({ length: 300 }, (_, index) => `name-${index}`)].map(
        (name, index) => [name, "v".repeat((index * 97) % 1000)] as const
      )
      assert.deepStrictEqual(Buffer.from(Keys.encodeTexts(texts)), Buffer.from(Cbor.encode(Object.fromEntries(texts))))
    })
  )

  it.effect("distinguishes arguments however they are split", () =>
    Effect.gen(function* () {
      const exec = (...args: ReadonlyArray<string>) => Snapshot.exec(base, "echo", args)
      assert.strictEqual(
        yield* distinct(
          exec("a b"),
          exec("a", "b"),
          exec('a","b'),
          exec("a", "b", ""),
          exec("ab"),
          exec("a\nb"),
          exec()
        ),
        7
      )
    })
  )

  it.effect.prop("gives equal command lines the same key, and all others another", [Words, Words], ([one, other]) =>
    Effect.gen(function* () {
      const keys = yield* Effect.forEach([one, other], (args) => keyOf(Snapshot.exec(base, "run", args)))
      assert.strictEqual(keys[0] === keys[1], JSON.stringify(one) === JSON.stringify(other))
    })
  )

  it.effect("distinguishes kinds of steps", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* distinct(
          Snapshot.shell(base, "/a"),
          Snapshot.exec(base, "/a"),
          Snapshot.workdir(base, "/a"),
          Snapshot.write(base, "/a", ""),
          Snapshot.step(base, "/a", () => Effect.void)
        ),
        5
      )
    })
  )

  it.effect("changes the key with everything that changes what a step does", () =>
    Effect.gen(function* () {
      const shell = (options?: Snapshot.CommandStepOptions) => Snapshot.shell(base, "make", options)
      const write = (content: string, options?: Snapshot.WriteOptions) => Snapshot.write(base, "/a", content, options)
      const variants = [
        shell(),
        shell({ login: true }),
        shell({ env: { A: "1" } }),
        shell({ env: { A: "2" } }),
        shell({ network: "none" }),
        shell({ secrets: { A: Redacted.make("x") } }),
        shell({ secrets: { A: { value: Redacted.make("x"), as: "file" } } }),
        shell({ cache: { key: "k" } }),
        Snapshot.shell(Snapshot.env(base, { A: "1", B: "2" }), "make"),
        Snapshot.shell(Snapshot.workdir(base, "/w"), "make"),
        Snapshot.shell(Snapshot.user(base, "app"), "make"),
        Snapshot.shell(Snapshot.shell(base, "before"), "make"),
        write("a"),
        write("b"),
        write("a", { mode: 0o600 }),
        write("a", { owner: "app" }),
        Snapshot.step(base, "a", () => Effect.void),
        Snapshot.step(base, "b", () => Effect.void),
        Snapshot.step(base, "a", () => Effect.void, { key: "2" })
      ]
      assert.strictEqual(yield* distinct(...variants), variants.length)
      const key = yield* keyOf(shell())
      assert.notStrictEqual((yield* keysOf(shell(), "nonce", "sha256:other"))[0], key)
    })
  )

  it.effect("ignores what does not change the disk", () =>
    Effect.gen(function* () {
      const step: Snapshot.CommandStepOptions = {
        description: "build it",
        timeout: "1 minute",
        retry: Schedule.recurs(3),
        retryFrom: "dirty",
        cache: "auto"
      }
      assert.strictEqual(
        yield* distinct(
          Snapshot.shell(base, "make"),
          Snapshot.shell(base, "make", step),
          Snapshot.shell(Snapshot.make("another-name", "debian:12"), "make"),
          Snapshot.labels(Snapshot.shell(base, "make"), { team: "platform" }),
          Snapshot.resources(Snapshot.shell(base, "make"), { cpus: 8, memory: "8G" }),
          Snapshot.checkpoint(Snapshot.shell(base, "make")),
          Snapshot.verify(Snapshot.shell(base, "make"), () => Effect.void),
          Snapshot.shell(Snapshot.from("child", base), "make")
        ),
        1
      )
    })
  )

  it.effect("ignores the order of variables", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* distinct(
          Snapshot.shell(Snapshot.env(base, { A: "1", B: "2" }), "make"),
          Snapshot.shell(Snapshot.env(base, { B: "2", A: "1" }), "make"),
          Snapshot.shell(base.pipe(Snapshot.env({ A: "0" }), Snapshot.env({ B: "2", A: "1" })), "make"),
          Snapshot.shell(base, "make", { env: { B: "2", A: "1" } })
        ),
        1
      )
    })
  )

  it.effect("ignores the order of fields in options", () =>
    Effect.gen(function* () {
      const [one, two] = [Redacted.make("1"), { value: Redacted.make("2"), inKey: true }]
      assert.strictEqual(
        yield* distinct(
          Snapshot.shell(base, "npm ci", {
            secrets: { ONE: one, TWO: two },
            network: { policy: "none", strict: true }
          }),
          Snapshot.shell(base, "npm ci", { network: { strict: true, policy: "none" }, secrets: { TWO: two, ONE: one } })
        ),
        1
      )
    })
  )

  it.effect("ignores the value of a secret unless inKey is set", () =>
    Effect.gen(function* () {
      const withSecret = (secret: Snapshot.StepSecret) => Snapshot.shell(base, "npm ci", { secrets: { TOKEN: secret } })
      const inKey = (value: string) => withSecret({ value: Redacted.make(value), inKey: true })
      assert.strictEqual(yield* distinct(withSecret(Redacted.make("one")), withSecret(Redacted.make("two"))), 1)
      assert.strictEqual(yield* distinct(inKey("one"), inKey("two")), 2)
      assert.strictEqual(
        yield* distinct(
          Snapshot.exec(base, "login", [Redacted.make("one")]),
          Snapshot.exec(base, "login", [Redacted.make("two")]),
          Snapshot.exec(base, "login", ["one"])
        ),
        3
      )
    })
  )

  it.effect("stores nothing of a secret", () =>
    Effect.gen(function* () {
      const value = "very-secret-value"
      const digest = Crypto.hash("sha256", value)
      const units = yield* unitsOf(
        base.pipe(
          Snapshot.shell("npm ci", { secrets: { TOKEN: { value: Redacted.make(value), inKey: true } } }),
          Snapshot.exec("login", [Redacted.make(value)])
        )
      )
      const remembered = JSON.stringify(
        units.map(({ description, descriptor, key }) => ({ description, descriptor, key }))
      )
      assert.notInclude(remembered, value)
      // A digest reveals a value that can be guessed.
      assert.notInclude(remembered, digest)
      assert.include(remembered, "login <redacted>")
    })
  )

  it.effect("changes the keys of a changed step and of all later steps only", () =>
    Effect.gen(function* () {
      const steps = (middle: string) =>
        base.pipe(Snapshot.shell("one"), Snapshot.shell(middle), Snapshot.shell("three"))
      const was = yield* keysOf(steps("two"))
      const now = yield* keysOf(steps("TWO"))
      assert.strictEqual(now[0], was[0])
      assert.notStrictEqual(now[1], was[1])
      assert.notStrictEqual(now[2], was[2])
    })
  )

  it.effect("gives steps that always run, and all later steps, new keys in every build", () =>
    Effect.gen(function* () {
      for (const definition of [
        base.pipe(Snapshot.shell("one"), Snapshot.skipCache, Snapshot.shell("two"), Snapshot.shell("three")),
        base.pipe(Snapshot.shell("one"), Snapshot.shell("two", { cache: "never" }), Snapshot.shell("three"))
      ]) {
        const first = yield* keysOf(definition, "first")
        const second = yield* keysOf(definition, "second")
        assert.deepStrictEqual(
          first.map((key, index) => key === second[index]),
          [true, false, false]
        )
      }
    })
  )

  it.effect("uses a key given by the user instead of the step's content", () =>
    Effect.gen(function* () {
      const keyed = (script: string, key: string) => Snapshot.shell(base, script, { cache: { key } })
      assert.strictEqual(yield* distinct(keyed("one", "k"), keyed("two", "k")), 1)
      assert.strictEqual(yield* distinct(keyed("one", "k"), keyed("one", "l")), 2)
      const after = (key: string) => Snapshot.shell(Snapshot.shell(base, key), "x", { cache: { key: "k" } })
      assert.strictEqual(yield* distinct(after("a"), after("b")), 2)
    })
  )

  it.effect("shares keys between a base and the definitions built on it", () =>
    Effect.gen(function* () {
      const shared = Snapshot.make("shared", "debian:12").pipe(Snapshot.env({ A: "1" }), Snapshot.shell("one"))
      const child = Snapshot.from("child", shared).pipe(Snapshot.shell("two"))
      const [one, two] = yield* unitsOf(child)
      assert.strictEqual(one?.key, yield* keyOf(shared))
      // Results of a base are kept, and its variables do not apply to definitions on it.
      assert.isTrue(one?.isMarked)
      assert.deepStrictEqual(two?.environment, {})
      assert.deepStrictEqual([one?.index, two?.index], [1, 2])
    })
  )

  it.effect("depends on the content of copied files, not on their location", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "plan"))),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
      )
      const make = (name: string, content: string) => {
        const path = Path.join(folder, name)
        Fs.mkdirSync(path)
        Fs.writeFileSync(Path.join(path, "file"), content)
        Fs.writeFileSync(Path.join(path, "ignored"), name)
        return Snapshot.copy(base, path, "/srv", { ignore: ["ignored"] })
      }
      const one = make("one", "same")
      assert.strictEqual(yield* distinct(one, make("two", "same")), 1)
      assert.strictEqual(yield* distinct(one, make("three", "other")), 2)
      const [unit] = yield* unitsOf(one)
      assert.deepStrictEqual(Object.keys(unit?.descriptor.files ?? {}), ["file"])
    })
  )

  it.effect("describes a step by what it does, unless it has a description", () =>
    Effect.gen(function* () {
      const units = yield* unitsOf(
        base.pipe(
          Snapshot.shell("  make all\nmake install"),
          Snapshot.exec("cargo", ["build"]),
          Snapshot.write("/etc/motd", ""),
          Snapshot.workdir("/work"),
          Snapshot.step("seed", () => Effect.void),
          Snapshot.shell("x", { description: "something else" })
        )
      )
      assert.deepStrictEqual(
        units.map(({ description }) => description),
        ["make all", "cargo build", "write /etc/motd", "workdir /work", "seed", "something else"]
      )
    })
  )

  it("records where in this file a step was declared", () => {
    const first = Snapshot.shell(base, "first")
    const definition = Snapshot.shell(first, "second")
    const own = Path.relative(process.cwd(), import.meta.filename)
    const lines = definition.steps.map(({ declaredAt }) => declaredAt?.split(":"))
    assert.deepStrictEqual(
      lines.map((line) => line?.[0]),
      [own, own]
    )
    assert.strictEqual(Number(lines[1]?.[1]) - Number(lines[0]?.[1]), 1)
  })
})

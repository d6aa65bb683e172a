/** What a plan says, and that a build does exactly that. */
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import type { Services } from "../../src/Driver.ts"
import * as Home from "../../src/internal/host/home.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Plan from "../../src/Plan.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "./support.ts"

const { reasonOf, test, verdicts } = Support

/** Three steps that can change, each of them kept. */
const three = (
  steps: {
    readonly second?: string
    readonly options?: Snapshot.CommandStepOptions
    readonly env?: { readonly [name: string]: string }
  } = {}
) =>
  Snapshot.make("three", Support.image).pipe(
    Snapshot.shell("echo 1 >> /root/lines"),
    Snapshot.env(steps.env ?? { A: "1", B: "2" }),
    Snapshot.shell(steps.second ?? "echo 2 >> /root/lines", steps.options),
    Snapshot.shell("echo 3 >> /root/lines")
  )

const buildThree = Snapshot.build(three(), { checkpoints: "every-step" })

const planAfterBuild = <E>(definition: Snapshot.Definition<E>) => Effect.andThen(buildThree, Snapshot.plan(definition))

describe("a plan", () => {
  const wrong: Snapshot.Definition = JSON.parse("{}")
  for (const [what, refused, field] of [
    ["a plan", Snapshot.plan(wrong, {}), "definition"],
    ["a build", Snapshot.build(wrong, {}), "definition"],
    ["a build in a pipe", Snapshot.build()(wrong), "definition"],
    ["the base of a definition", Snapshot.plan(Snapshot.from("app", wrong)), "base"]
  ] as const) {
    test(
      `rejects ${what} that is not a definition, and names the field`,
      Effect.gen(function* () {
        const { reason } = yield* Effect.flip<unknown, LightboxError, Services>(refused)
        assert.deepInclude(reason, { _tag: "InvalidConfig", field })
      })
    )
  }

  test(
    "says that a user's cache key changed",
    Effect.gen(function* () {
      const keyed = (key: string) =>
        Snapshot.make("keyed", Support.image).pipe(Snapshot.shell("echo 1", { cache: { key } }))
      yield* Snapshot.build(keyed("one"))
      const reason = reasonOf(yield* Snapshot.plan(keyed("two")), 1)
      assert.strictEqual(reason?._tag, "ArgumentsChanged")
      if (reason?._tag !== "ArgumentsChanged") return
      assert.include(reason.was, '"cacheKey":"one"')
      assert.include(reason.now, '"cacheKey":"two"')
    })
  )

  test(
    "says that nothing was built yet, and boots nothing",
    Effect.gen(function* () {
      const [plan, boots] = yield* Support.countingBoots(Snapshot.plan(three()))
      assert.strictEqual(boots, 0)
      assert.deepStrictEqual(verdicts(plan), ["NeverBuilt", "EarlierChanged", "EarlierChanged"])
      assert.isFalse(plan.isCached)
      assert.deepStrictEqual(
        plan.steps.map(({ declaredAt }) => declaredAt?.replace(/:\d+$/, "")),
        Array.from({ length: 3 }, () => "test/Snapshot/plan.test.ts")
      )
    })
  )

  test(
    "has the keys that the build uses, and only hits after it",
    Effect.gen(function* () {
      const before = yield* Snapshot.plan(three())
      const built = yield* buildThree
      const after = yield* Snapshot.plan(three())
      assert.deepStrictEqual(verdicts(after), ["Hit", "Hit", "Hit"])
      assert.isTrue(after.isCached)
      assert.deepStrictEqual([before.key, after.key], [built.key, built.key])
      assert.deepStrictEqual(
        before.steps.map(({ key }) => key),
        after.steps.map(({ key }) => key)
      )
      assert.strictEqual(after.imageDigest, built.imageDigest)
    })
  )

  test(
    "has no digest for an image that is not pulled yet",
    Effect.gen(function* () {
      const plan = yield* Snapshot.plan(three())
      assert.deepStrictEqual(reasonOf(plan, 1), { _tag: "BaseUnknown", image: Support.image })
      assert.notProperty(plan, "imageDigest")
    }),
    { images: { [Support.image]: {} } }
  )

  test(
    "reports the old and the new digest of a changed image",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const control = yield* MicrosandboxMemory.Control
      const { imageDigest } = yield* buildThree
      yield* control.setImage(Support.image, { files: { "/new": "new" } })
      yield* driver.removeImage(Support.image, { force: true })
      yield* driver.createSandbox({ name: "puller", source: { _tag: "Image", reference: Support.image }, config: {} })
      yield* driver.removeSandbox(yield* driver.getSandbox("puller"), { force: true })
      const plan = yield* Snapshot.plan(three())
      assert.deepStrictEqual(reasonOf(plan, 1), { _tag: "BaseChanged", was: imageDigest, now: plan.imageDigest ?? "" })
      assert.deepStrictEqual(verdicts(plan), ["BaseChanged", "EarlierChanged", "EarlierChanged"])
    })
  )

  test(
    'asks the registry with the pull policy "always", and pulls nothing',
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const driver = yield* Microsandbox.Microsandbox
      const { imageDigest } = yield* buildThree
      const always = { pullPolicy: "always" } as const
      assert.isTrue((yield* Snapshot.plan(three(), always)).isCached)
      yield* control.setImage(Support.image, { files: { "/new": "new" } })
      const inCache = yield* driver.getImage(Support.image)
      for (const plan of [
        yield* Snapshot.plan(three(), always),
        yield* Snapshot.plan(three().pipe(Snapshot.builder(always)))
      ]) {
        assert.deepStrictEqual(verdicts(plan), ["BaseChanged", "EarlierChanged", "EarlierChanged"])
        assert.deepStrictEqual(reasonOf(plan, 1), {
          _tag: "BaseChanged",
          was: imageDigest,
          now: plan.imageDigest ?? ""
        })
      }
      assert.deepStrictEqual(yield* driver.getImage(Support.image), inCache)
      // The call has the last word.
      const plan = yield* Snapshot.plan(three().pipe(Snapshot.builder(always)), { pullPolicy: "if-missing" })
      assert.isTrue(plan.isCached)
      const planned = yield* Snapshot.plan(three(), always)
      const built = yield* Snapshot.build(three(), always)
      assert.deepStrictEqual([built.key, built.imageDigest], [planned.key, planned.imageDigest ?? ""])
    })
  )

  test(
    "resolves an uncached image by asking the registry, and fails if that has none",
    Effect.gen(function* () {
      const plan = yield* Snapshot.plan(three(), { pullPolicy: "always" })
      assert.deepStrictEqual(verdicts(plan), ["NeverBuilt", "EarlierChanged", "EarlierChanged"])
      const { reason } = yield* Effect.flip(Snapshot.plan(Snapshot.make("other", "other"), { pullPolicy: "always" }))
      assert.deepInclude(reason, { _tag: "ImageUnavailable", reference: "other", kind: "NotFound", isRetryable: false })
    }),
    { images: { [Support.image]: {} } }
  )

  test(
    "reports the old and the new command",
    Effect.gen(function* () {
      const plan = yield* planAfterBuild(three({ second: "echo two >> /root/lines" }))
      assert.deepStrictEqual(verdicts(plan), ["Hit", "ArgumentsChanged", "EarlierChanged"])
      const reason = reasonOf(plan, 2)
      if (reason?._tag !== "ArgumentsChanged") return assert.fail("another reason")
      assert.include(reason.was, "echo 2 >> /root/lines")
      assert.include(reason.now, "echo two >> /root/lines")
      assert.deepStrictEqual(reasonOf(plan, 3), { _tag: "EarlierChanged", index: 2 })
    })
  )

  test(
    "names changed, removed and added variables",
    Effect.gen(function* () {
      const plan = yield* planAfterBuild(three({ env: { A: "changed", C: "3" } }))
      assert.deepStrictEqual(reasonOf(plan, 2), {
        _tag: "EnvironmentChanged",
        variables: [
          { name: "A", was: "1", now: "changed" },
          { name: "B", was: "2", now: "" },
          { name: "C", was: "", now: "3" }
        ]
      })
    })
  )

  test(
    "names changed, removed and added files, and ignores their times",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const write = (path: string, content: string) => fs.writeFileString(`${folder}/${path}`, content)
      yield* fs.makeDirectory(`${folder}/inner`)
      yield* Effect.all([write("same", "same"), write("gone", "gone"), write("inner/file", "1"), write("mode", "mode")])
      yield* fs.chmod(`${folder}/mode`, 0o644)
      const definition = Snapshot.make("copied", Support.image).pipe(Snapshot.copy(folder, "/srv"))
      yield* Snapshot.build(definition)
      yield* fs.utimes(`${folder}/same`, 1, 1)
      assert.deepStrictEqual(verdicts(yield* Snapshot.plan(definition)), ["Hit"])

      yield* Effect.all([fs.remove(`${folder}/gone`), write("inner/file", "2"), fs.chmod(`${folder}/mode`, 0o755)])
      yield* write("new", "new")
      const reason = reasonOf(yield* Snapshot.plan(definition), 1)
      if (reason?._tag !== "FilesChanged") return assert.fail("another reason")
      assert.deepStrictEqual(
        reason.files.map(({ now, path, was }) => [path, was.split(" ").slice(0, 2), now.split(" ").slice(0, 2)]),
        [
          ["gone", ["file", "644"], [""]],
          ["inner/file", ["file", "644"], ["file", "644"]],
          ["mode", ["file", "644"], ["file", "755"]],
          ["new", [""], ["file", "644"]]
        ]
      )
    })
  )

  test(
    "ignores the modes of copied files when the step sets a mode",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${folder}/file`, "x")
      const definition = Snapshot.make("moded", Support.image).pipe(Snapshot.copy(folder, "/srv", { mode: 0o644 }))
      yield* Snapshot.build(definition)
      yield* fs.chmod(`${folder}/file`, 0o664)
      assert.deepStrictEqual(verdicts(yield* Snapshot.plan(definition)), ["Hit"])
    })
  )

  test(
    "reports what is forced by the options, by a step, and from a step on",
    Effect.gen(function* () {
      const all = yield* planAfterBuild(three({ options: { cache: "never" } }))
      assert.deepStrictEqual(verdicts(all), ["Hit", "Forced", "Forced"])
      const forced = (force: boolean | number) => Effect.map(Snapshot.plan(three(), { force }), verdicts)
      assert.deepStrictEqual(yield* forced(true), ["Forced", "Forced", "Forced"])
      assert.deepStrictEqual(yield* forced(3), ["Hit", "Hit", "Forced"])
      assert.deepStrictEqual(yield* forced(false), ["Hit", "Hit", "Hit"])
      const skipping = three().pipe(Snapshot.skipCache, Snapshot.shell("true"))
      assert.deepStrictEqual(verdicts(yield* Snapshot.plan(skipping)), ["Hit", "Hit", "Hit", "Forced"])
    })
  )

  test(
    "distinguishes unchanged steps that were not kept from the changed one",
    Effect.gen(function* () {
      const changed = three().pipe(Snapshot.shell("echo 4"))
      yield* Snapshot.build(changed, { checkpoints: "final" })
      const plan = yield* Snapshot.plan(three().pipe(Snapshot.shell("echo 5")))
      assert.deepStrictEqual(verdicts(plan), ["NotKept", "NotKept", "NotKept", "ArgumentsChanged"])
    })
  )

  test(
    "says when a result was pruned",
    Effect.gen(function* () {
      yield* buildThree
      yield* TestClock.adjust("1 hour")
      // The intermediate results: the name points to the last.
      yield* Snapshot.prune()
      const plan = yield* Snapshot.plan(three({ second: "echo two" }))
      assert.deepStrictEqual(reasonOf(plan, 1), { _tag: "Evicted", at: DateTime.makeUnsafe(3_600_000) })
      assert.deepStrictEqual(verdicts(plan), ["Evicted", "EarlierChanged", "EarlierChanged"])
      // Built again, it is a hit.
      yield* Snapshot.build(three({ second: "echo two" }), { checkpoints: "every-step" })
      assert.deepStrictEqual(verdicts(yield* Snapshot.plan(three({ second: "echo 3" }))), [
        "Hit",
        "ArgumentsChanged",
        "EarlierChanged"
      ])
    })
  )

  test(
    "reports a damaged result, and the build makes it again",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const built = yield* buildThree
      yield* control.damageSnapshot(built.path, "disk")
      const plan = yield* Snapshot.plan(three())
      assert.isFalse(plan.isCached)
      assert.deepStrictEqual(verdicts(plan), ["Hit", "Hit", "Damaged"])
      const { boots, steps, built: healed } = yield* Support.buildCounting(three())
      assert.deepStrictEqual([steps, boots], [[3], 1])
      assert.strictEqual(yield* Support.readIn(healed, "/root/lines"), "1\n2\n3\n")
      assert.deepStrictEqual(verdicts(yield* Snapshot.plan(three())), ["Hit", "Hit", "Hit"])
    })
  )

  test(
    "reports the builder version that made an existing result",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { home } = yield* Microsandbox.Microsandbox
      yield* buildThree
      const path = `${home}/lightbox/names/three.json`
      const record = yield* fs.readFileString(path)
      assert.include(record, '"builderVersion":"2"')
      yield* fs.writeFileString(path, record.replace('"builderVersion":"2"', '"builderVersion":"0"'))
      const plan = yield* Snapshot.plan(three({ second: "echo two" }).pipe(Snapshot.shell("true")))
      assert.deepStrictEqual(reasonOf(plan, 2), { _tag: "BuilderChanged", was: "0", now: "2" })
    })
  )

  test(
    "can be printed, and survives a round trip through JSON",
    Effect.gen(function* () {
      const plan = yield* planAfterBuild(three({ env: { A: "changed", B: "2" } }))
      assert.deepStrictEqual(Plan.format(plan).split("\n").slice(1), [
        "   1  cached  echo 1 >> /root/lines",
        '   2  run     echo 2 >> /root/lines  <- environment changed: A (was "1", is "changed")',
        "   3  run     echo 3 >> /root/lines  <- step 2 runs",
        "2 of 3 steps to run.",
        {
          full: "Keeping a result copies its whole disk: `lightbox doctor` measures the cost per MiB.",
          reflink: "Keeping a result costs next to nothing here: copies share disk blocks.",
          unknown: "It is not known whether copies share disk blocks here."
        }[plan.copies]
      ])
      const { home } = yield* Microsandbox.Microsandbox
      assert.strictEqual(plan.copies, yield* Effect.promise(() => Home.probeCopies(`${home}/probe`)))
      const codec = Schema.fromJsonString(Schema.toCodecJson(Plan.Plan))
      const json = yield* Schema.encodeEffect(codec)(plan)
      assert.deepStrictEqual(yield* Schema.decodeEffect(codec)(json), plan)
    })
  )
})

/** Images in the cache: what a prune removes, and what it says before. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../src/Image.ts"
import * as MicrosandboxLocal from "../src/MicrosandboxLocal.ts"
import * as Microsandbox from "../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../src/MicrosandboxMemory.ts"
import * as Sandbox from "../src/Sandbox.ts"
import * as Snapshot from "../src/Snapshot.ts"

const images = {
  "booted:1": { isCached: true, files: { "/a": "1" } },
  "built:1": { isCached: true, files: { "/a": "2" } },
  "same-as-built:1": { isCached: true, files: { "/a": "2" } },
  "unused:1": { isCached: true, files: { "/a": "3" } }
}

it.effect.each([
  { where: "in memory", layer: (home: string) => MicrosandboxMemory.layer({ home }) },
  { where: "on this machine", layer: (home: string) => MicrosandboxLocal.layer({ home }) }
])("a home that is a file, or below one, is refused by its name: $where", ({ layer }) =>
  Effect.gen(function* () {
    for (const home of ["/etc/passwd", "/etc/passwd/below"]) {
      const { reason } = yield* Effect.flip(Effect.provide(Image.list(), layer(home)))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: "home", problem: `${home} is not a folder` })
    }
  })
)

it.effect("an archive is no device, which may have no end", () =>
  Effect.gen(function* () {
    for (const load of [
      Effect.asVoid(Image.load("/dev/zero")),
      Effect.asVoid(Snapshot.load("/dev/zero", { name: "x" }))
    ]) {
      const { reason } = yield* Effect.flip(load)
      assert.deepInclude(reason, { _tag: "FileError", path: "/dev/zero", problem: "it is not a file" })
    }
  }).pipe(Effect.provide(MicrosandboxMemory.layer()))
)

it.effect("a prune says before what it removes: images that no sandbox and no snapshot uses", () =>
  Effect.gen(function* () {
    yield* Snapshot.build(Snapshot.make("built", "built:1"))
    yield* Sandbox.launch({ image: "booted:1" })
    const planned = yield* Image.prune({ dryRun: true })
    assert.deepStrictEqual([planned.dryRun, (yield* Image.list()).length], [true, 4])
    const removed = yield* Image.prune()
    const seen = ({ verdicts }: typeof removed) => verdicts.map(({ name, verdict }) => `${name} ${verdict}`).toSorted()
    const kept = ["booted:1 kept", "built:1 kept", "same-as-built:1 kept"]
    assert.deepStrictEqual(seen(planned), [...kept, "unused:1 removable"])
    assert.deepStrictEqual(seen(removed), [...kept, "unused:1 removed"])
    assert.strictEqual((yield* Image.list()).length, 3)
    assert.strictEqual(planned.freedBytes, planned.verdicts.find(({ verdict }) => verdict === "removable")?.bytes)
  }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer({ images })))
)

it.effect.each([
  { how: "by its digest", info: { image: "old:1", imageDigest: "sha256:b" }, kept: "docker.io/library/new:1" },
  { how: "by its short name", info: { image: "alpine" }, kept: "docker.io/library/alpine:latest" }
])("a dry run of a prune finds the image of a sandbox $how", ({ info, kept }) =>
  Effect.gen(function* () {
    const driver = yield* Microsandbox.Microsandbox
    const sandbox = yield* Sandbox.launch({ image: "booted:1" })
    const found = Object.assign(yield* driver.getSandbox(sandbox.name), { imageDigest: undefined }, info)
    const images = [
      ["alpine:latest", "sha256:a"],
      ["new:1", "sha256:b"],
      ["old:1", "sha256:c"]
    ].map(([name, digest]) => ({ reference: `docker.io/library/${name}`, digest, layers: 1 }))
    const { verdicts } = yield* Image.prune({ dryRun: true }).pipe(
      Effect.provideService(Microsandbox.Microsandbox, {
        ...driver,
        listImages: () => Effect.succeed(images),
        listSandboxes: () => Effect.succeed([found])
      })
    )
    const names = verdicts.flatMap(({ name, verdict }) => (verdict === "kept" ? [name] : []))
    assert.deepStrictEqual(names, [kept])
  }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer({ images })))
)

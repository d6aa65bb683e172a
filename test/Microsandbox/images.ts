/**
 * Images: what the cache knows about them, and saving and loading archives.
 *
 * These cases come first: nothing needs the images yet.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { leftoversEnd } from "../../src/internal/driver/sdk/calls.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

const digestsOf = (all: ReadonlyArray<Microsandbox.ImageInfo>) => [...new Set(all.map(({ digest }) => digest))]

export const images: Group = (test) => {
  test("returns the reference and digest of an image", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { image } = yield* Bench.Bench
    const detail = yield* driver.getImage(image)
    assert.strictEqual(detail.reference, image)
    assert.match(detail.digest ?? "", /^sha256:[0-9a-f]{64}$/)
    const listed = (yield* driver.listImages()).find(({ reference }) => reference === image)
    assert.strictEqual(listed?.digest, detail.digest)
  })

  test("resolves an image without a pull", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { alias, image } = yield* Bench.Bench
    const { digest } = yield* driver.getImage(image)
    for (const name of [image, alias.short, alias.whole]) {
      assert.deepStrictEqual(yield* driver.resolveImage(name), { digest, isCached: true }, name)
    }
    const unknown = "localhost:1/not-there:1"
    for (const pullPolicy of ["if-missing", "never"] as const) {
      const resolved = yield* driver.resolveImage(unknown, { pullPolicy })
      assert.deepStrictEqual(resolved, { digest: undefined, isCached: false })
    }
    const asked = driver.resolveImage(unknown, { pullPolicy: "always" })
    assert.strictEqual((yield* Bench.failsWith("ImageUnavailable", asked)).reference, unknown)
    const registry = { caCerts: "/no/such/file" }
    const wrong = yield* Bench.failsWith("InvalidConfig", driver.resolveImage(image, { registry }))
    assert.strictEqual(wrong.field, "registry.caCerts")
    assert.deepStrictEqual(Bench.referencesOf(yield* driver.listImages()).includes(unknown), false)
  })

  test("rejects images that cannot be saved or loaded", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { files, image } = yield* Bench.Bench
    const path = Path.join(files, "never.tar")
    const none = yield* Bench.failsWith("InvalidConfig", driver.saveImages([], path))
    assert.strictEqual(none.field, "references")
    const unknown = "lightbox.test/not-there:1"
    const missing = yield* Bench.failsWith("NotFound", driver.saveImages([image, unknown], path))
    assert.deepInclude(missing, { resource: "image", name: unknown })
    assert.strictEqual((yield* Bench.failsWithCode("ENOENT", driver.loadImage(path))).path, path)
    Fs.writeFileSync(path, "no archive")
    const wrong = yield* Bench.failsWith("ImageUnavailable", driver.loadImage(path))
    assert.strictEqual(wrong.reference, path)
  })

  test("does not write an archive after the caller has stopped waiting", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { files, image } = yield* Bench.Bench
    const path = Path.join(files, "late.tar")
    // One driver has finished by then; the other may continue for a while.
    const saved = yield* Effect.timeoutOption(driver.saveImages([image], path), "1 millis")
    yield* leftoversEnd
    assert.strictEqual(Fs.existsSync(path), saved._tag === "Some")
  })

  test("saves, prunes, loads under more names, and removes images", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { alias, files, image } = yield* Bench.Bench
    const path = Path.join(files, "new", "folder", "images.tar")
    const original = yield* driver.getImage(image)
    yield* driver.saveImages([image, alias.whole], path)
    const before = yield* driver.listImages()
    const pruned = yield* driver.pruneImages()
    assert.strictEqual(pruned.images, before.length)
    assert.isAtLeast(pruned.layers, digestsOf(before).length)
    assert.isAbove(pruned.bytes ?? 0, 0)
    assert.deepStrictEqual(yield* driver.listImages(), [])
    assert.deepStrictEqual(yield* driver.pruneImages(), { images: 0, layers: 0, bytes: undefined })
    yield* Bench.failsWith("NotFound", driver.getImage(image))

    // Its layers are saved unpacked: it is another image now.
    const tag = "lightbox.test/tagged:1"
    const loaded = yield* driver.loadImage(path, { tag })
    assert.deepStrictEqual(Bench.referencesOf(loaded), [alias.whole, image, tag].toSorted())
    assert.deepStrictEqual(Bench.referencesOf(yield* driver.listImages()), Bench.referencesOf(loaded))
    const { cmd, digest, entrypoint, env, user, cwd } = yield* driver.getImage(image)
    assert.deepStrictEqual(digestsOf(loaded), [digest])
    assert.notStrictEqual(digest, original.digest)
    assert.deepInclude(original, { cmd, entrypoint, env, user, cwd })
    // And the same from then on.
    const again = Path.join(files, "again.tar")
    yield* driver.saveImages([alias.short], again, { format: "docker" })
    const [only, ...others] = yield* driver.loadImage(again)
    assert.deepStrictEqual([only?.reference, only?.digest, others.length], [alias.short, digest, 0])

    // Its short name removes that one first, then the fully qualified one.
    yield* driver.removeImage(tag)
    yield* driver.removeImage(alias.short)
    assert.deepStrictEqual(Bench.referencesOf(yield* driver.listImages()), [alias.whole, image].toSorted())
    assert.strictEqual((yield* driver.getImage(alias.short)).reference, alias.whole)
    yield* driver.removeImage(alias.short)
    assert.deepStrictEqual(Bench.referencesOf(yield* driver.listImages()), [image])
    yield* Bench.failsWith("NotFound", driver.getImage(alias.short))
    yield* driver.removeImage(alias.short)
    yield* driver.loadImage(path)
    assert.deepStrictEqual(Bench.referencesOf(yield* driver.listImages()), [alias.whole, image].toSorted())
  })
}

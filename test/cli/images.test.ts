import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Path from "node:path"
import * as Cleanup from "../../src/Cleanup.ts"
import * as Image from "../../src/Image.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Shapes from "../../src/internal/cli/json.ts"
import { Cli, detached, failing, json, succeeding, test } from "./support.ts"

const images = {
  "alpine:3": { isCached: true },
  "unused:1": { isCached: true, files: { "/a": "1" } },
  "other:1": { isCached: true, files: { "/a": "2" } }
}

test(
  "images are listed, pruned and removed",
  Effect.gen(function* () {
    yield* detached("web")
    assert.match((yield* succeeding("images")).stdout, /^IMAGE +DIGEST +SIZE +USED\n(.*\n)*alpine:3 +[0-9a-f]{12} /)
    const [all] = yield* json(Shapes.Images, "image", "ls")
    assert.deepStrictEqual(all?.map(({ reference }) => reference).toSorted(), Object.keys(images).toSorted())

    assert.strictEqual((yield* failing(1, "image", "rm", "unused:1", "none:1")).error?.reason._tag, "NotFound")
    assert.include((yield* failing(1, "image", "rm", "none:1")).hint, "lightbox images")
    assert.strictEqual((yield* failing(1, "image", "rm", "alpine:3")).error?.reason._tag, "InUse")
    assert.strictEqual((yield* Image.list()).length, 3)
    assert.strictEqual((yield* succeeding("image", "rm", "-f", "none:1", "other:1")).stdout, "Removed other:1\n")

    const [planned] = yield* json(Cleanup.Report, "image", "prune", "--dry-run")
    assert.deepStrictEqual(planned?.verdicts.map(({ name, verdict }) => `${name} ${verdict}`).toSorted(), [
      "alpine:3 kept",
      "unused:1 removable"
    ])
    assert.strictEqual((yield* Image.list()).length, 2)
    assert.match((yield* succeeding("image", "prune")).stdout, /\nremoved +unused:1 [^]*K were freed\n$/)
    assert.strictEqual((yield* succeeding("images", "-q")).stdout, "alpine:3\n")
    yield* succeeding("rm", "-f", "web")
    yield* succeeding("image", "rm", "alpine:3")
    assert.strictEqual((yield* succeeding("images")).stdout, "There are no images.\n")
  }),
  { images }
)

test(
  "images are loaded from an archive",
  Effect.gen(function* () {
    const { folder } = yield* Cli
    const file = Path.join(folder, "images.tar")
    yield* Image.save(["unused:1"], file)
    yield* succeeding("image", "rm", "unused:1")
    const [loaded] = yield* json(Shapes.Images, "image", "load", file, "--tag", "loaded:1")
    assert.deepStrictEqual(loaded?.map(({ reference }) => reference).includes("loaded:1"), true)
    assert.include((yield* failing(2, "image", "load", Path.join(folder, "none"))).message, "there is no file")
    assert.include((yield* failing(2, "image", "load", file, "--tag", "no name")).message, "Invalid --tag")
    assert.include((yield* failing(2, "image", "load")).message, "file")
  }),
  { images }
)

test(
  "images are pulled if the registry has another one",
  Effect.gen(function* () {
    const { requests } = yield* Cli
    const { setImage } = yield* MicrosandboxMemory.Control
    assert.strictEqual((yield* succeeding("rmi", "unused:1")).stdout, "Removed unused:1\n")
    const first = yield* succeeding("pull", "unused:1")
    assert.match(first.stdout, /^IMAGE +DIGEST +SIZE +USED\nunused:1 +[0-9a-f]{12} /)
    assert.strictEqual(first.stderr, "pulling unused:1\n")
    assert.strictEqual(requests.length, 1)

    const [current] = yield* json(Shapes.Images, "image", "pull", "unused:1", "alpine:3")
    assert.deepStrictEqual(
      current?.map(({ reference }) => reference),
      ["unused:1", "alpine:3"]
    )
    assert.strictEqual(requests.length, 1)

    yield* setImage("unused:1", { files: { "/a": "3" } })
    yield* succeeding("pull", "unused:1", "-q")
    assert.strictEqual(requests.length, 2)
    assert.deepStrictEqual((yield* json(Shapes.Sandboxes, "ps"))[0], [])
    assert.strictEqual((yield* failing(1, "pull", "none:1")).error?.reason._tag, "ImageUnavailable")
    assert.include((yield* failing(2, "pull", "no name")).message, "Invalid NAME")
    assert.include((yield* failing(2, "pull")).message, "name")
  }),
  { images }
)

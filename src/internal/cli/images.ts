/** `images` and `image`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Image from "../../Image.ts"
import type { ImageInfo } from "../../Microsandbox.ts"
import { isFound } from "../host/fileFailure.ts"
import { bytes, driver, instant, printList, printRemoved, printReport } from "./environment.ts"
import { namedArgument, nameFile, nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"

const printImages = (images: ReadonlyArray<ImageInfo>) =>
  printList(Shapes.Images, images, {
    columns: ["IMAGE", "DIGEST", "SIZE", "USED"],
    row: ({ digest, lastUsedAt, reference, size }) => [
      reference,
      digest === undefined ? "-" : digest.replace(/^sha256:/, "").slice(0, 12),
      bytes(size),
      instant(lastUsedAt)
    ],
    none: "There are no images."
  })

const list = () => Effect.flatMap(Image.list(), printImages)

const description = "List the images that are cached on this machine"

export const images = Command.make("images", {}, list).pipe(
  Command.withDescription(description),
  Command.provide(driver())
)

const ls = Command.make("ls", {}, list).pipe(Command.withDescription(description))

const load = Command.make(
  "load",
  {
    file: Flags.file("Archive of docker save, or in the OCI layout"),
    tag: Flags.text("tag", "IMAGE", "Additional name of the first image")
  },
  Effect.fnUntraced(function* ({ file, tag }) {
    const loaded = yield* Image.load(file, { tag }).pipe(
      Effect.mapError(nameFlags({ path: "FILE", tag: "--tag" })),
      Effect.mapError(nameFile(file))
    )
    yield* printImages(loaded)
  })
).pipe(Command.withDescription("Load the images of an archive, so that they need no registry"))

const rm = Command.make(
  "rm",
  {
    names: Flags.nameOf("Names of images").pipe(Argument.atLeast(1)),
    force: Flags.toggle("force", "Remove names even if a sandbox uses them, and ignore those that do not exist").pipe(
      Flag.withAlias("f")
    )
  },
  Effect.fnUntraced(function* ({ force, names }) {
    // Check all names before removing any.
    const found = yield* Effect.filter(names, (image) =>
      force ? isFound(Image.get(image)) : Effect.as(Image.get(image), true)
    )
    yield* Effect.forEach(found, (image) => Image.remove(image, { force }), { discard: true })
    yield* printRemoved(found)
  }, namedArgument)
).pipe(Command.withDescription("Remove images from the cache"))

const prune = Command.make(
  "prune",
  { dryRun: Flags.toggle("dry-run", "Only show what would be removed") },
  Effect.fnUntraced(function* ({ dryRun }) {
    const report = yield* Image.prune({ dryRun })
    yield* printReport(
      report,
      {
        columns: ["VERDICT", "IMAGE", "SIZE", "USED", "REASON"],
        row: ({ bytes: size, name, reason, usedAt, verdict }) => [verdict, name, bytes(size), instant(usedAt), reason],
        none: "There are no images."
      },
      `${bytes(report.freedBytes)} ${dryRun ? "would be" : "were"} freed`
    )
  })
).pipe(Command.withDescription("Remove images that no sandbox and no snapshot uses"))

export const image = Command.make("image").pipe(
  Command.withDescription("List, load and remove the images that are cached on this machine"),
  Command.withSubcommands([ls, load, rm, prune]),
  Command.provide(driver())
)

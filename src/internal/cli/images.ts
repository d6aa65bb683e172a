/** `images` and `image`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Image from "../../Image.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandbox from "../../Sandbox.ts"
import type * as SandboxConfig from "../../SandboxConfig.ts"
import { ImageReference } from "../config/schemas.ts"
import { decoder, invalid } from "../config/validation.ts"
import { isFound } from "../host/fileFailure.ts"
import { bytes, driver, fromTokenVariable, printList, printRemoved, printReport, tokenVariable } from "./environment.ts"
import * as Contexts from "./serve/contexts.ts"
import { namedArgument, nameFile, nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import { inspectOnly } from "./inspect.ts"
import * as Shapes from "./json.ts"
import { reportPull } from "./sandboxes.ts"
import { pullSnapshot } from "./snapshots.ts"

const printImages = (images: ReadonlyArray<Microsandbox.ImageInfo>, listing?: Flags.Listing) =>
  printList(
    Shapes.Images,
    images,
    {
      columns: ["IMAGE", "DIGEST", "SIZE", "USED"],
      row: ({ digest, lastUsedAt, reference, size }) => [
        reference,
        digest === undefined ? "-" : digest.replace(/^sha256:/, "").slice(0, 12),
        bytes(size),
        lastUsedAt
      ],
      none: "There are no images."
    },
    listing
  )

const list = (listing: Flags.Listing) => Effect.flatMap(Image.list(), (images) => printImages(images, listing))

const description = "List the images that are cached on this machine"

export const images = Command.make(
  "images",
  { ...Flags.listing, all: Flags.toggle("all", "Include all images, as it does anyway").pipe(Flag.withAlias("a")) },
  list
).pipe(Command.withDescription(description), Command.provide(driver()))

const ls = Command.make("ls", Flags.listing, list).pipe(Command.withDescription(description))

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

const names = Flags.nameOf("Names of images").pipe(Argument.atLeast(1))

/** Enough to boot an image. */
const resources: SandboxConfig.Resources = { memory: "256M" }

const pullEach = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
  registry: SandboxConfig.Registry | undefined
) {
  yield* Effect.forEach(names, decoder(ImageReference, "pull", "NAME"))
  const driver = yield* Microsandbox.Microsandbox
  const pulled = yield* Effect.forEach(names, (image) =>
    Effect.gen(function* () {
      const { isCached } = yield* driver.resolveImage(image, { pullPolicy: "always", registry })
      // The runtime pulls only what it boots.
      if (!isCached) {
        const onPullProgress = yield* reportPull(image)
        yield* Sandbox.run(
          { image, resources, network: "none", pullPolicy: "always", registry, onPullProgress },
          () => Effect.void
        )
      }
      return yield* Image.get(image)
    })
  )
  yield* printImages(pulled)
}, namedArgument)

/** The machine that a snapshot is pulled from: a URL, or the name of a context. */
const sourceOf = Effect.fnUntraced(function* (fromHost: string) {
  if (!/^[a-z]+:/i.test(fromHost)) {
    const known = yield* Contexts.find(yield* Contexts.read, fromHost, "--from-host")
    yield* Contexts.trust(known, fromHost)
    return { host: known.url, token: Redacted.make(known.token) }
  }
  const token = process.env[fromTokenVariable] ?? process.env[tokenVariable]
  return token === undefined
    ? yield* invalid("pull", fromTokenVariable, "expected the token of the host to pull from")
    : { host: fromHost, token: Redacted.make(token) }
})

export const pull = Command.make(
  "pull",
  {
    names: Flags.nameOf("Names of images, or with --snapshot where it was pushed to").pipe(Argument.atLeast(1)),
    snapshot: Flags.text("snapshot", "NAME", "Pull a snapshot that was pushed, as a new generation of this name"),
    fromHost: Flags.text(
      "from-host",
      "URL",
      `Pull the snapshot NAME from a context, or from the machine that runs \`lightbox host\` there (token: $${fromTokenVariable}, else $${tokenVariable})`
    ),
    untrusted: Flags.toggle(
      "untrusted",
      "With snapshots: let no build reuse it, and publish its ports on free ports of 127.0.0.1"
    ),
    ...Flags.registry,
    ...Flags.s3
  },
  Effect.fnUntraced(function* ({ endpoint, fromHost, names, region, snapshot, untrusted, ...flags }) {
    const registry = Flags.registryOf(flags)
    if (snapshot === undefined && fromHost === undefined) {
      if (untrusted) return yield* invalid("pull", "--untrusted", "it goes with --snapshot")
      return yield* pullEach(names, registry)
    }
    const [reference = "", ...others] = names
    if (others.length > 0) return yield* invalid("pull", "NAME", "with snapshots, expected a single one")
    const options = { registry, s3: { endpoint, region }, trusted: !untrusted }
    if (fromHost === undefined) {
      return yield* pullSnapshot(snapshot ?? reference, reference, options, { name: "--snapshot", reference: "NAME" })
    }
    if (registry !== undefined) {
      const flag = registry.insecure === true ? "--insecure" : "--ca-certs"
      return yield* invalid("pull", flag, "it is for registries, not for hosts")
    }
    const from = { ...(yield* sourceOf(fromHost)), snapshot: reference }
    const [name = ""] = (snapshot ?? reference).split("@")
    yield* pullSnapshot(name, from, options, {
      name: snapshot === undefined ? "NAME" : "--snapshot",
      "reference.host": "--from-host",
      "reference.token": fromTokenVariable,
      "reference.snapshot": "NAME"
    })
  })
).pipe(
  Command.withDescription("Pull images, unless the cached ones are current, or a snapshot with --snapshot"),
  Command.withExamples([
    { command: "lightbox pull node:22", description: "Pull an image" },
    {
      command: "lightbox pull --snapshot node-ci registry.example.com/ci/node:main",
      description: "Pull what `lightbox push node-ci` has pushed there"
    },
    {
      command: "lightbox pull --from-host https://kvm.example.com:7400 node-ci",
      description: "Pull a snapshot from another machine"
    }
  ]),
  Command.provide(driver())
)

const pullImage = Command.make("pull", { names }, ({ names }) => pullEach(names, undefined)).pipe(
  Command.withDescription("Pull images from their registry, unless the cached ones are current")
)

const removal = {
  names,
  force: Flags.toggle("force", "Remove names even if a sandbox uses them, and ignore those that do not exist").pipe(
    Flag.withAlias("f")
  )
}

const removeEach = Effect.fnUntraced(function* ({
  force,
  names
}: {
  readonly force: boolean
  readonly names: ReadonlyArray<string>
}) {
  // Check all names before removing any.
  const found = yield* Effect.filter(names, (image) =>
    force ? isFound(Image.get(image)) : Effect.as(Image.get(image), true)
  )
  yield* Effect.forEach(found, (image) => Image.remove(image, { force }), { discard: true })
  yield* printRemoved(found)
}, namedArgument)

const removeDescription = "Remove images from the cache"

const rm = Command.make("rm", removal, removeEach).pipe(Command.withDescription(removeDescription))

export const rmi = Command.make("rmi", removal, removeEach).pipe(
  Command.withDescription(removeDescription),
  Command.provide(driver())
)

const prune = Command.make(
  "prune",
  {
    dryRun: Flags.toggle("dry-run", "Only show what would be removed"),
    all: Flags.toggle("all", "Include images with a name, as it does anyway").pipe(Flag.withAlias("a")),
    force: Flags.unasked
  },
  Effect.fnUntraced(function* ({ dryRun }) {
    const report = yield* Image.prune({ dryRun })
    yield* printReport(
      report,
      {
        columns: ["VERDICT", "IMAGE", "SIZE", "USED", "REASON"],
        row: ({ bytes: size, name, reason, usedAt, verdict }) => [verdict, name, bytes(size), usedAt, reason],
        none: "There are no images."
      },
      `${bytes(report.freedBytes)} ${dryRun ? "would be" : "were"} freed`
    )
  })
).pipe(Command.withDescription("Remove images that no sandbox and no snapshot uses"))

export const image = Command.make("image").pipe(
  Command.withDescription("List, pull, load and remove the images that are cached on this machine"),
  Command.withSubcommands([ls, inspectOnly("image"), pullImage, load, rm, prune]),
  Command.provide(driver())
)

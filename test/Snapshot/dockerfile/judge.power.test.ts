/**
 * Compares what a build in memory makes of Dockerfiles with what Debian's `buildah` makes of them, on an image with the
 * same programs: the same files, modes, owners and configuration. It prints a table.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { isDeepStrictEqual } from "node:util"
import * as Snapshot from "../../../src/Snapshot.ts"
import * as Packages from "../../host/Packages.ts"
import { run } from "../../host/Subprocess.ts"
import * as Busybox from "../../images/Busybox.ts"
import { disk, withTwin } from "../support.ts"
import { type Judged, judged } from "./judged.ts"

type Disk = { readonly [path: string]: string }

/** Of the runtime, of the twin's own records, of every boot, or a place for mounts, of which buildah leaves the parents. */
const left = /^\/(?:\.msb|dev|mnt|proc|run|sys|tmp|etc\/(?:hosts|hostname|resolv\.conf)|var\/lib\/lightbox)(?:\/|$)/

/** What a build has added or changed, and what it has removed. */
const changes = (before: Disk, after: Disk): Disk =>
  Object.fromEntries(
    [...new Set([...Object.keys(before), ...Object.keys(after)])]
      .filter((path) => !left.test(path) && before[path] !== after[path])
      .toSorted()
      .map((path) => [path, after[path] ?? "removed"])
  )

/** Everything below a folder of this machine, as {@link disk} describes it. */
const tree = (root: string): Disk => {
  const found: { [path: string]: string } = {}
  const walk = (folder: string): void => {
    for (const name of Fs.readdirSync(Path.join(root, folder))) {
      const path = `${folder}/${name}`
      const full = Path.join(root, path)
      const stats = Fs.lstatSync(full)
      const about = (kind: string, content: string) =>
        `${kind} ${(stats.mode & 0o7777).toString(8)} ${stats.uid}:${stats.gid} ${content}`
      if (stats.isSymbolicLink()) found[path] = about("SymbolicLink", Fs.readlinkSync(full))
      else if (stats.isDirectory()) {
        found[path] = about("Directory", "")
        if (!left.test(path)) walk(path)
      } else found[path] = about("File", stats.size < 100_000 ? Fs.readFileSync(full, "utf8") : "")
    }
  }
  walk("")
  return found
}

const Config = Schema.Struct({
  User: Schema.optional(Schema.String),
  Env: Schema.optional(Schema.Array(Schema.String)),
  Entrypoint: Schema.optional(Schema.NullOr(Schema.Array(Schema.String))),
  Cmd: Schema.optional(Schema.NullOr(Schema.Array(Schema.String))),
  WorkingDir: Schema.optional(Schema.String),
  Labels: Schema.optional(Schema.NullOr(Schema.Record(Schema.String, Schema.String))),
  ExposedPorts: Schema.optional(Schema.NullOr(Schema.Record(Schema.String, Schema.Unknown)))
})

const Inspected = Schema.fromJsonString(Schema.Struct({ OCIv1: Schema.Struct({ config: Config }) }))

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const configOf = ({ defaults, labels }: Snapshot.Definition) => ({
  user: defaults.user ?? "",
  env: Object.entries(defaults.env ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .toSorted(),
  entrypoint: defaults.entrypoint ?? [],
  cmd: defaults.cmd ?? ["sh"],
  cwd: defaults.cwd ?? "",
  labels,
  ports: (Array.isArray(defaults.ports) ? defaults.ports : [])
    .map(({ guest, protocol = "tcp" }) => `${guest}/${protocol}`)
    .toSorted()
})

const configIn = ({ Cmd, Entrypoint, Env, ExposedPorts, Labels, User, WorkingDir }: (typeof Config)["Type"]) => ({
  user: User ?? "",
  env: (Env ?? []).filter((variable) => variable !== path).toSorted(),
  entrypoint: Entrypoint ?? [],
  cmd: Cmd ?? [],
  cwd: WorkingDir === "/" ? "" : (WorkingDir ?? ""),
  labels: Object.fromEntries(Object.entries(Labels ?? {}).filter(([key]) => key !== "io.buildah.version")),
  ports: Object.keys(ExposedPorts ?? {}).toSorted()
})

const writeContext = Effect.fnUntraced(function* ({ files = {}, lines }: Judged) {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  for (const [path, content] of Object.entries(files)) {
    yield* fs.makeDirectory(Path.dirname(Path.join(folder, path)), { recursive: true, mode: 0o755 })
    yield* fs.writeFileString(Path.join(folder, path), content, { mode: 0o644 })
  }
  yield* fs.writeFileString(Path.join(folder, "Dockerfile"), `${lines.join("\n")}\n`)
  if (yield* fs.exists(Path.join(folder, "rootfs"))) {
    const owner = ["--owner=3", "--group=4", "-C", Path.join(folder, "rootfs"), "."]
    yield* run("tar", ["-cf", Path.join(folder, "rootfs.tar"), ...owner])
    yield* run("tar", ["-czf", Path.join(folder, "rootfs.tar.gz"), ...owner])
  }
  return folder
})

/** Builds with buildah in a store of its own, and returns what it makes of a Dockerfile. */
const makeBuildah = Effect.gen(function* () {
  yield* Packages.ensure("the judge of Dockerfiles", ["buildah"])
  const fs = yield* FileSystem.FileSystem
  const store = yield* fs.makeTempDirectoryScoped()
  const buildah = (...args: ReadonlyArray<string>) =>
    run("buildah", ["--root", `${store}/root`, "--runroot", `${store}/run`, "--storage-driver", "vfs", ...args])
  const mounted = Effect.fnUntraced(function* (image: string) {
    const container = (yield* buildah("from", "--pull-never", image)).trim()
    const root = (yield* buildah("mount", container)).trim()
    const found = tree(root)
    yield* buildah("rm", container)
    return found
  })
  yield* buildah("pull", `oci-archive:${yield* Busybox.archive}:${Busybox.reference}`)
  // The image has no history, which buildah needs where a stage starts from another.
  const container = (yield* buildah("from", "--pull-never", Busybox.reference)).trim()
  yield* buildah("commit", "--squash", "--rm", container, Busybox.reference)
  const before = yield* mounted(Busybox.reference)
  return Effect.fnUntraced(function* ({ args = {}, secrets = {}, target }: Judged, context: string) {
    const given = yield* Effect.forEach(Object.entries(secrets), ([id, value]) =>
      Effect.as(fs.writeFileString(`${store}/${id}`, value), `--secret=id=${id},src=${store}/${id}`)
    )
    yield* buildah(
      "bud",
      "--isolation=chroot",
      "--pull-never",
      "--layers=false",
      ...Object.entries(args).map(([name, value]) => `--build-arg=${name}=${value}`),
      ...given,
      ...(target === undefined ? [] : [`--target=${target}`]),
      "--tag=localhost/judged",
      context
    )
    const { OCIv1 } = yield* Schema.decodeEffect(Inspected)(
      yield* buildah("inspect", "--type=image", "localhost/judged")
    )
    return {
      changed: changes(before, yield* mounted("localhost/judged")),
      config: configIn(OCIv1.config)
    }
  })
})

/** Those of the image. */
const accounts = {
  "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n",
  "/etc/group": "root:x:0:\napp:x:1000:\n"
}

const builtHere = Effect.fnUntraced(function* ({ args, secrets = {}, target }: Judged, context: string, before: Disk) {
  const definition = yield* Snapshot.fromDockerfile("judged", `${context}/Dockerfile`, {
    target,
    args,
    secrets: Object.fromEntries(Object.entries(secrets).map(([id, value]) => [id, Redacted.make(value)]))
  })
  // Its service has no program here.
  const after = yield* disk(yield* definition.pipe(Snapshot.defaults({ services: {} }), Snapshot.build))
  return { changed: changes(before, after), config: configOf(definition) }
})

it.live(
  "Dockerfiles become what buildah makes of them",
  () =>
    Effect.gen(function* () {
      const buildah = yield* makeBuildah
      const before = yield* disk(yield* Snapshot.build(Snapshot.make("before", Busybox.reference)))
      const rows = yield* Effect.forEach(judged, (dockerfile) =>
        Effect.gen(function* () {
          const context = yield* writeContext(dockerfile)
          const expected = yield* buildah(dockerfile, context)
          const found = yield* builtHere(dockerfile, context, before)
          return { like: dockerfile.like, expected, found }
        })
      )
      const isSame = ({ expected, found }: (typeof rows)[number]) => isDeepStrictEqual(found, expected)
      const wide = Math.max(...rows.map(({ like }) => like.length))
      yield* Console.log(
        [
          ...rows.map((row) => {
            const paths = Object.keys(row.expected.changed).length
            return `${row.like.padEnd(wide)}  ${String(paths).padStart(3)} paths  ${isSame(row) ? "same" : "DIFFERENT"}`
          }),
          `${rows.filter(isSame).length} of ${rows.length} Dockerfiles become the same as with buildah`
        ].join("\n")
      )
      for (const { expected, found, like } of rows) {
        assert.isAbove(Object.keys(expected.changed).length, 0, like)
        assert.deepStrictEqual(found, expected, like)
      }
    }).pipe(
      Effect.scoped,
      (effect) => withTwin(effect, { images: { [Busybox.reference]: { isCached: true, files: accounts } } }),
      Effect.provide(NodeServices.layer)
    ),
  600_000
)

/** Volumes, with every fault. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Volume from "../../src/Volume.ts"
import { image, matrix } from "./matrix.ts"

const there = Volume.ensure("cache", { quota: "64M" })

class Cache extends Volume.Service<Cache>()("Cache", "cache") {}

/** Primed once and completely, whoever does it. */
const primed = Volume.prime("cache", ({ name }) =>
  Sandbox.run({ image, mounts: { "/cache": { volume: name } } }, (sandbox) =>
    sandbox.shell("echo full > /cache/state", { check: true })
  )
)

matrix("Volume", { exports: Volume, others: ["Volume"] }, [
  { name: "ensure", run: there },
  { name: "ensure of an existing volume", given: there, run: there },
  { name: "get", given: there, run: Volume.get("cache") },
  { name: "list", given: there, run: Volume.list() },
  { name: "exists", given: there, run: Volume.exists("cache") },
  { name: "remove", given: there, run: Volume.remove("cache") },
  {
    name: "scoped",
    run: Volume.scoped("scratch"),
    // No sweep removes volumes.
    mayStay: ["volume scratch"],
    always: Volume.remove("scratch")
  },
  { name: "prime", run: primed },
  { name: "prime of a primed volume", given: primed, run: primed },
  { name: "exclusive", given: there, run: Volume.exclusive("cache") },
  { name: "usage", given: there, run: Volume.usage("cache") },
  {
    name: "files",
    given: there,
    run: Effect.flatMap(Volume.files("cache"), (files) =>
      Effect.andThen(files.writeFileString("/a/file", "text"), files.readFile("/a/file"))
    )
  },
  {
    name: "prune",
    given: Volume.ensure("old", { labels: { team: "platform" } }),
    run: Volume.prune({ labels: { team: "platform" } })
  },
  { name: "layer", run: Effect.provide(Effect.asVoid(Volume.Volume), Volume.layer("cache")) },
  {
    name: "layerConfig",
    run: Effect.provide(
      Effect.asVoid(Volume.Volume),
      Volume.layerConfig("cache", { quota: Config.succeed(1024 ** 3) })
    ).pipe(Effect.catchTag("ConfigError", Effect.die))
  },
  { name: "Service", run: Effect.provide(Effect.asVoid(Cache), Cache.layer) }
])

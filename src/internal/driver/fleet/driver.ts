/** `Microsandbox` on any number of hosts, which a directory knows. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import { HostUnavailable, LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type * as MicrosandboxFleet from "../../../MicrosandboxFleet.ts"
import { defaultResources, DurationInput, HostPath, Labels, SecretToken } from "../../config/schemas.ts"
import { decoder, invalid } from "../../config/validation.ts"
import { type Directory, type Host, isAlive, listed } from "../../directory/directory.ts"
import * as Directories from "../../directory/open.ts"
import { DirectoryUrl, redacted } from "../../directory/url.ts"
import * as Owner from "../../ownership/owner.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import * as Elsewhere from "../remote/elsewhere.ts"
import * as FleetHome from "./home.ts"
import * as Hosts from "./hosts.ts"
import * as Sandboxes from "./sandboxes.ts"
import * as Stock from "./stock.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const layerMethod = "MicrosandboxFleet.layer"

const decodeLayerOptions = decoder(
  Schema.Struct({
    directory: DirectoryUrl,
    token: SecretToken,
    architecture: Schema.optional(Schema.Literals(["x64", "arm64"])),
    labels: Schema.optional(Labels),
    home: Schema.optional(HostPath),
    connectTimeout: Schema.optional(DurationInput)
  }),
  layerMethod
)

/** What all hosts can do. */
const common = ([first, ...others]: readonly [Host, ...ReadonlyArray<Host>]): Microsandbox.Capabilities => {
  const isCommon = (name: keyof Microsandbox.Capabilities) =>
    first.capabilities[name] && others.every(({ capabilities }) => capabilities[name])
  return {
    snapshots: isCommon("snapshots"),
    images: isCommon("images"),
    volumes: isCommon("volumes"),
    volumeFiles: false,
    bindMounts: isCommon("bindMounts"),
    diskMounts: isCommon("diskMounts"),
    patches: isCommon("patches"),
    ports: isCommon("ports"),
    kill: isCommon("kill"),
    modify: isCommon("modify"),
    logs: isCommon("logs"),
    metrics: isCommon("metrics"),
    captureRunning: isCommon("captureRunning"),
    fork: isCommon("fork"),
    memorySnapshots: isCommon("memorySnapshots"),
    liveNetwork: isCommon("liveNetwork"),
    pause: isCommon("pause")
  }
}

/** `opened`: the directory, if this program has opened it before. */
export const make = Effect.fnUntraced(function* (
  input: MicrosandboxFleet.Options,
  opened?: Directory
): Effect.fn.Return<Blueprint<never, never>, LightboxError, Scope.Scope> {
  const options = yield* decodeLayerOptions(input)
  const labels = options.labels ?? {}
  const url = redacted(options.directory)
  const { base, home } = yield* Elsewhere.homeOf(layerMethod, options.home, "fleet", Redacted.value(url))
  const directory = opened ?? (yield* Directories.open(layerMethod, "directory", url))
  const local = yield* Owner.make(home)
  const hosts = yield* Hosts.make({
    method: layerMethod,
    directory,
    token: options.token,
    home: base,
    connectTimeout: options.connectTimeout ?? Duration.seconds(10),
    ownership: local
  })

  const fits = (host: Host) =>
    isAlive(host) &&
    (options.architecture === undefined || host.architecture === options.architecture) &&
    Object.entries(labels).every(([name, value]) => host.labels[name] === value)
  const [first, ...others] = (yield* hosts.all).filter(fits)
  if (first === undefined) {
    const problem = "the directory has no host that is alive and has these labels and this architecture"
    const reason = new HostUnavailable({ host: directory.url, kind: "Unreachable", problem })
    return yield* new LightboxError({ method: layerMethod, reason })
  }
  // Images and snapshots of one do not boot on the other.
  if (others.some(({ architecture }) => architecture !== first.architecture)) {
    return yield* invalid(layerMethod, "architecture", "expected one, because the hosts of this fleet have several")
  }

  const routes = Sandboxes.makeRoutes(directory)
  const stock = Stock.make(directory, hosts)
  const locks = FleetHome.makeLocks(directory)
  const notes = FleetHome.makeNotes({ local, hosts, hostOf: routes.hostOf, holders: stock.holders })
  const remoteHome = FleetHome.make({ directory, hosts, locks, hostOfVolume: stock.hostOfVolume })
  const context = {
    directory,
    hosts,
    notes,
    routes,
    stock,
    locks,
    token: options.token,
    owner: Crypto.randomBytes(9).toString("base64url"),
    home: { home, remoteHome },
    last: { host: undefined },
    wanted: {
      memory: defaultResources.memory,
      architecture: first.architecture,
      labels,
      sources: undefined,
      needs: [],
      images: new Set<string>()
    }
  }
  const driver: Driver = {
    backend: "fleet",
    home,
    version: first.version,
    capabilities: common([first, ...others]),
    remoteHome,
    hosts: Effect.map(hosts.all, (all) => all.map(listed)),
    ...Stock.images(context),
    ...Sandboxes.make(context),
    ...Stock.remains(context),
    ...Stock.snapshots(context),
    ...Stock.volumes(context)
  }
  return Elsewhere.blueprint(driver, () => notes.ownership)
})

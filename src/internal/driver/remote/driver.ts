/** `Microsandbox` on another machine, behind a gateway. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type * as MicrosandboxRemote from "../../../MicrosandboxRemote.ts"
import { DurationInput, HostPath, HostUrl, SecretToken, withoutSlash } from "../../config/schemas.ts"
import { decoder } from "../../config/validation.ts"
import * as AgentGuest from "../../guest/agent.ts"
import * as AgentConnection from "../../guest/connection.ts"
import { requireArchive } from "../../host/fileFailure.ts"
import { instanceLabel } from "../../ownership/labels.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import { requireBoot } from "../createChecks.ts"
import type { ImagePart, RemainsPart, SandboxPart, SnapshotPart, VolumePart } from "../parts.ts"
import * as PullReport from "../pullReport.ts"
import * as Channel from "./channel.ts"
import * as Clients from "./client.ts"
import * as Elsewhere from "./elsewhere.ts"
import * as RemoteHome from "./home.ts"
import * as Protocol from "./protocol.ts"
import * as Transfer from "./transfer.ts"
import { toJson } from "./values.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const layerMethod = "MicrosandboxRemote.layer"

const LayerOptions = Schema.Struct({
  url: HostUrl,
  token: SecretToken,
  home: Schema.optional(HostPath),
  connectTimeout: Schema.optional(DurationInput)
})

const decodeLayerOptions = decoder(LayerOptions, layerMethod)

export const make = Effect.fnUntraced(function* (
  input: MicrosandboxRemote.Options,
  host?: string
): Effect.fn.Return<Blueprint<never, never>, LightboxError, Scope.Scope> {
  const options = yield* decodeLayerOptions(input)
  const url = withoutSlash(options.url)
  const { home } = yield* Elsewhere.homeOf(layerMethod, options.home, "remote", url)
  const client = yield* Clients.make({ method: layerMethod, url, token: options.token, host })
  const { capabilities, version } = client.opened
  const driver: Driver = {
    backend: "remote",
    home,
    version,
    capabilities,
    remoteHome: RemoteHome.make(client),
    ...images(client),
    ...sandboxes(client, options.connectTimeout ?? Duration.seconds(10)),
    ...remains(client),
    ...snapshots(client),
    ...volumes(client)
  }
  return Elsewhere.blueprint(driver, RemoteHome.ownership(client))
})

const images = (client: Clients.Client): ImagePart => ({
  loadImage: Effect.fn("Microsandbox.loadImage")(function* (path, options) {
    const method = "Microsandbox.loadImage"
    yield* requireArchive(method, path)
    const file = yield* Transfer.send(client, method, path)
    return yield* client
      .write(method, (rpc, call) => rpc.loadImage({ file, tag: options?.tag }, call))
      .pipe(Effect.mapError(Transfer.called(path)))
  }),
  saveImages: Effect.fn("Microsandbox.saveImages")(function* (references, path, options) {
    const method = "Microsandbox.saveImages"
    const file = yield* client.write(method, (rpc, call) =>
      rpc.saveImages({ references, format: options?.format }, call)
    )
    yield* Transfer.makeParent(method, path)
    yield* Transfer.fetchTo(client, method, file, path)
  }),
  listImages: Effect.fn("Microsandbox.listImages")(() =>
    client.read("Microsandbox.listImages", (rpc, call) => rpc.listImages(undefined, call))
  ),
  getImage: Effect.fn("Microsandbox.getImage")((reference) =>
    client.read("Microsandbox.getImage", (rpc, call) => rpc.getImage({ reference }, call))
  ),
  resolveImage: Effect.fn("Microsandbox.resolveImage")((reference, options = {}) =>
    client.read("Microsandbox.resolveImage", (rpc, call) =>
      rpc.resolveImage({ reference, options: toJson(options) }, call)
    )
  ),
  removeImage: Effect.fn("Microsandbox.removeImage")((reference, options) =>
    client.end("Microsandbox.removeImage", (rpc, call) => rpc.removeImage({ reference, force: options?.force }, call))
  ),
  pruneImages: Effect.fn("Microsandbox.pruneImages")(() =>
    client.write("Microsandbox.pruneImages", (rpc, call) => rpc.pruneImages(undefined, call))
  )
})

/** A relay at its limit of connections may have room in a moment. */
const busy = Schedule.exponential("20 millis").pipe(Schedule.jittered, Schedule.upTo({ times: 6 }))

/** Removes a sandbox whose launch was interrupted, and whose creation could not be cancelled in time. */
const lateCreation = (client: Clients.Client, instance: string, name: string): Clients.Late => {
  const labels = { [instanceLabel]: instance }
  const remove = ({ id, name }: Microsandbox.SandboxRef) =>
    client.end("Microsandbox.removeSandbox", (rpc, call) =>
      rpc.removeSandbox({ sandbox: { id, name }, force: true }, call)
    )
  return {
    subject: instance,
    cleanUp: client
      .read("Microsandbox.listSandboxes", (rpc, call) => rpc.listSandboxes({ labels }, call))
      .pipe(
        Effect.flatMap((found) => Effect.forEach(found, remove, { discard: true })),
        // Its note is kept until nothing is left of it.
        Effect.andThen(RemoteHome.forget(client, { kind: "sandbox", token: instance, name })),
        Effect.ignore
      )
  }
}

const sandboxes = (client: Clients.Client, connectTimeout: Duration.Duration): SandboxPart => ({
  createSandbox: Effect.fn("Microsandbox.createSandbox")(function* (request) {
    const method = "Microsandbox.createSandbox"
    yield* Elsewhere.checkProxy(request)
    yield* requireBoot(request)
    const report = yield* PullReport.make(request)
    // The library starts services itself, and their probes may be functions.
    const { onResume: _onResume, services: _services, ...config } = request.config
    const { detached, labels, name, onConflict, refuseIfFull, source } = request
    const options = { labels, onConflict, detached, refuseIfFull, peers: request.proxy?.peers }
    const payload = { name, source, config: toJson(config), ...options }
    const instance = labels?.[instanceLabel]
    const late = instance === undefined ? undefined : lateCreation(client, instance, name)
    const create: Clients.Run<Microsandbox.SandboxInfo> = (rpc, call) => {
      let created: Microsandbox.SandboxInfo | undefined
      return Effect.flatMap(
        Stream.runForEach(rpc.createSandbox(payload, call), (event) =>
          Effect.sync(() => {
            if (event._tag === "Pulling") report(event.progress)
            if (event._tag === "Created") created = event.info
          })
        ),
        () => (created === undefined ? Effect.fail(client.incomplete(method)) : Effect.succeed(created))
      )
    }
    return yield* client.write(method, create, late)
  }),
  getSandbox: Effect.fn("Microsandbox.getSandbox")((name) =>
    client.read("Microsandbox.getSandbox", (rpc, call) => rpc.getSandbox({ name }, call))
  ),
  listSandboxes: Effect.fn("Microsandbox.listSandboxes")((filter) =>
    client.read("Microsandbox.listSandboxes", (rpc, call) => rpc.listSandboxes({ labels: filter?.labels }, call))
  ),
  startSandbox: Effect.fn("Microsandbox.startSandbox")((sandbox, options) =>
    client.write("Microsandbox.startSandbox", (rpc, call) =>
      rpc.startSandbox({ sandbox: refOf(sandbox), detached: options?.detached }, call)
    )
  ),
  stopSandbox: Effect.fn("Microsandbox.stopSandbox")((sandbox, options) => {
    const timeout = options?.timeout === undefined ? undefined : Duration.fromInputUnsafe(options.timeout)
    return client.end("Microsandbox.stopSandbox", (rpc, call) =>
      rpc.stopSandbox({ sandbox: refOf(sandbox), timeout }, call)
    )
  }),
  killSandbox: Effect.fn("Microsandbox.killSandbox")((sandbox) =>
    client.end("Microsandbox.killSandbox", (rpc, call) => rpc.killSandbox({ sandbox: refOf(sandbox) }, call))
  ),
  getSandboxLifecycle: Effect.fn("Microsandbox.getSandboxLifecycle")((sandbox) =>
    client.read("Microsandbox.getSandboxLifecycle", (rpc, call) =>
      rpc.getSandboxLifecycle({ sandbox: refOf(sandbox) }, call)
    )
  ),
  detachSandbox: Effect.fn("Microsandbox.detachSandbox")((sandbox) =>
    client.write("Microsandbox.detachSandbox", (rpc, call) => rpc.detachSandbox({ sandbox: refOf(sandbox) }, call))
  ),
  removeSandbox: Effect.fn("Microsandbox.removeSandbox")((sandbox, options) =>
    client.end("Microsandbox.removeSandbox", (rpc, call) =>
      rpc.removeSandbox({ sandbox: refOf(sandbox), force: options?.force }, call)
    )
  ),
  modifySandbox: Effect.fn("Microsandbox.modifySandbox")((sandbox, change) =>
    client.write("Microsandbox.modifySandbox", (rpc, call) =>
      rpc.modifySandbox({ sandbox: refOf(sandbox), change: toJson(change) }, call)
    )
  ),
  connect: Effect.fn("Microsandbox.connect")(function* (sandbox) {
    const method = "Microsandbox.connect"
    const url = new URL(`${client.url}${Protocol.paths.sandboxes}/${encodeURIComponent(sandbox.id)}/agent`)
    url.searchParams.set("name", sandbox.name)
    url.protocol = url.protocol.replace("http", "ws")
    const connected = Effect.gen(function* () {
      const channel = yield* client.request((headers) =>
        Channel.open({ method, host: client.url, url, headers, timeout: connectTimeout })
      )
      yield* Effect.forkScoped(
        Effect.andThen(
          client.silence,
          Effect.sync(() => channel.destroy(new Error("its host has not answered for too long")))
        )
      )
      return yield* AgentConnection.make({ name: sandbox.name, open: () => channel, timeout: connectTimeout })
    })
    const connection = yield* Effect.retry(connected, {
      while: ({ reason }) => reason._tag === "GuestBusy",
      schedule: busy
    })
    return AgentGuest.make(connection)
  }),
  readLogs: Effect.fn("Microsandbox.readLogs")((sandbox, query) =>
    client.read("Microsandbox.readLogs", (rpc, call) =>
      Stream.runCollect(rpc.readLogs({ sandbox: refOf(sandbox), ...query }, call))
    )
  ),
  readMetrics: Effect.fn("Microsandbox.readMetrics")((sandbox) =>
    client.read("Microsandbox.readMetrics", (rpc, call) => rpc.readMetrics({ sandbox: refOf(sandbox) }, call))
  ),
  searchSandbox: Effect.fn("Microsandbox.searchSandbox")((sandbox, needles) =>
    client.read("Microsandbox.searchSandbox", (rpc, call) =>
      rpc.searchSandbox({ sandbox: refOf(sandbox), needles }, call)
    )
  )
})

const refOf = ({ id, name }: Microsandbox.SandboxRef): Microsandbox.SandboxRef => ({ id, name })

const remains = (client: Clients.Client): RemainsPart => ({
  listGhosts: Effect.fn("Microsandbox.listGhosts")(() =>
    client.read("Microsandbox.listGhosts", (rpc, call) => rpc.listGhosts(undefined, call))
  ),
  removeGhost: Effect.fn("Microsandbox.removeGhost")((name) =>
    client.write("Microsandbox.removeGhost", (rpc, call) => rpc.removeGhost({ name }, call))
  ),
  removeRemains: Effect.fn("Microsandbox.removeRemains")((options = {}) =>
    client.write("Microsandbox.removeRemains", (rpc, call) => rpc.removeRemains(options, call))
  )
})

const snapshots = (client: Clients.Client): SnapshotPart => ({
  captureSnapshot: Effect.fn("Microsandbox.captureSnapshot")((request) =>
    client.write("Microsandbox.captureSnapshot", (rpc, call) => rpc.captureSnapshot(request, call))
  ),
  getSnapshot: Effect.fn("Microsandbox.getSnapshot")((name) =>
    client.read("Microsandbox.getSnapshot", (rpc, call) => rpc.getSnapshot({ name }, call))
  ),
  listSnapshots: Effect.fn("Microsandbox.listSnapshots")(() =>
    client.read("Microsandbox.listSnapshots", (rpc, call) => rpc.listSnapshots(undefined, call))
  ),
  listDamagedSnapshots: Effect.fn("Microsandbox.listDamagedSnapshots")(() =>
    client.read("Microsandbox.listDamagedSnapshots", (rpc, call) => rpc.listDamagedSnapshots(undefined, call))
  ),
  removeSnapshot: Effect.fn("Microsandbox.removeSnapshot")((name) =>
    client.write("Microsandbox.removeSnapshot", (rpc, call) => rpc.removeSnapshot({ name }, call))
  ),
  verifySnapshot: Effect.fn("Microsandbox.verifySnapshot")((name) =>
    client.read("Microsandbox.verifySnapshot", (rpc, call) => rpc.verifySnapshot({ name }, call))
  ),
  saveSnapshot: Effect.fn("Microsandbox.saveSnapshot")(function* (name, path, options) {
    const method = "Microsandbox.saveSnapshot"
    const file = yield* client.write(method, (rpc, call) => rpc.saveSnapshot({ name, ...options }, call))
    yield* Transfer.fetchTo(client, method, file, path)
  }),
  removeStaging: Effect.fn("Microsandbox.removeStaging")((of, options) =>
    client.write("Microsandbox.removeStaging", (rpc, call) => rpc.removeStaging({ of, dryRun: options?.dryRun }, call))
  ),
  renameSnapshot: Effect.fn("Microsandbox.renameSnapshot")((name, to) =>
    client.write("Microsandbox.renameSnapshot", (rpc, call) => rpc.renameSnapshot({ name, to }, call))
  ),
  loadSnapshot: Effect.fn("Microsandbox.loadSnapshot")(function* (path, name) {
    const method = "Microsandbox.loadSnapshot"
    yield* requireArchive(method, path)
    const file = yield* Transfer.send(client, method, path)
    return yield* client
      .write(method, (rpc, call) => rpc.loadSnapshot({ file, name }, call))
      .pipe(Effect.mapError(Transfer.called(path)))
  }),
  importSnapshot: Elsewhere.importSnapshot,
  listSnapshotLinks: Effect.fn("Microsandbox.listSnapshotLinks")(() =>
    client.read("Microsandbox.listSnapshotLinks", (rpc, call) => rpc.listSnapshotLinks(undefined, call))
  ),
  readSnapshotLink: Effect.fn("Microsandbox.readSnapshotLink")((link) =>
    client.read("Microsandbox.readSnapshotLink", (rpc, call) => rpc.readSnapshotLink({ link }, call))
  ),
  linkSnapshot: Effect.fn("Microsandbox.linkSnapshot")((link, name) =>
    client.write("Microsandbox.linkSnapshot", (rpc, call) => rpc.linkSnapshot({ link, name }, call))
  ),
  unlinkSnapshot: Effect.fn("Microsandbox.unlinkSnapshot")((link) =>
    client.write("Microsandbox.unlinkSnapshot", (rpc, call) => rpc.unlinkSnapshot({ link }, call))
  )
})

const volumes = (client: Clients.Client): VolumePart => ({
  createVolume: Effect.fn("Microsandbox.createVolume")((request) =>
    client.write("Microsandbox.createVolume", (rpc, call) => rpc.createVolume(request, call))
  ),
  getVolume: Effect.fn("Microsandbox.getVolume")((name) =>
    client.read("Microsandbox.getVolume", (rpc, call) => rpc.getVolume({ name }, call))
  ),
  listVolumes: Effect.fn("Microsandbox.listVolumes")(() =>
    client.read("Microsandbox.listVolumes", (rpc, call) => rpc.listVolumes(undefined, call))
  ),
  removeVolume: Effect.fn("Microsandbox.removeVolume")((name) =>
    client.write("Microsandbox.removeVolume", (rpc, call) => rpc.removeVolume({ name }, call))
  )
})

/** Capturing, resuming, copying and pausing machines. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Guest from "../../../Guest.ts"
import { InvalidConfig, LightboxError, NotRunning, Unsupported } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import { requireEntryName } from "../../config/validation.ts"
import { generate, instanceLabel } from "../../ownership/labels.ts"
import { type DriverContext, retainNative, takingTurns } from "../local/context.ts"
import { boot, cleanUpInstance } from "../local/create.ts"
import * as RootDisks from "../local/rootDisks.ts"
import { snapshotInfo } from "../local/snapshots.ts"
import * as OverlayDisk from "../overlayDisk.ts"
import { publishedPorts, withPorts } from "../ports.ts"
import { call, commit, isTaken } from "../sdk/calls.ts"
import { fromSdk } from "../sdk/errors.ts"
import { handleOf, instanceOf, sandboxInfo } from "../sdk/sandboxes.ts"
import { fromMebibytes, toMebibytes } from "../sdk/sizes.ts"
import type { SandboxHandle } from "../sdk/surface.ts"
import { hostFile } from "../snapshotLinks.ts"
import * as Virtualization from "../../host/virtualization.ts"
import type { Addon } from "./addon.ts"
import * as Layers from "./layers.ts"
import * as Machines from "./machines.ts"
import { geometryOf, objectsOf, pathOf, publish } from "./sdk.ts"

type Operations = Microsandbox.MemoryOperations

const requireRunning = (method: string, handle: SandboxHandle): Effect.Effect<void, LightboxError> =>
  handle.status === "running"
    ? Effect.void
    : Effect.fail(new LightboxError({ method, reason: new NotRunning({ name: handle.name, status: handle.status }) }))

const unsupported = (method: string, feature: string, problem: string): LightboxError =>
  new LightboxError({ method, reason: new Unsupported({ feature, problem }) })

/** Files with the pages of a snapshot's memory. */
const memoryFiles = Effect.fnUntraced(function* (
  { sdk }: DriverContext,
  method: string,
  name: string
): Effect.fn.Return<ReadonlyArray<string>, LightboxError> {
  const { path } = yield* call(method, { snapshot: name }, () => sdk.Snapshot.open(name))
  const files = yield* hostFile(method, path, () => objectsOf(path))
  return files.length > 0 ? files : yield* unsupported(method, "resume", `the snapshot "${name}" is only a disk`)
})

/** What a machine that goes on cannot be given. */
export const requireResumable = Effect.fnUntraced(function* (
  { config, proxy }: Microsandbox.CreateSandbox,
  captured: { readonly cpus: number; readonly memory: number }
): Effect.fn.Return<void, LightboxError> {
  const method = "Microsandbox.createSandbox"
  const { resources } = config
  const others = "the captured machine has others, and goes on with them"
  if ((resources?.cpus ?? captured.cpus) !== captured.cpus) {
    return yield* unsupported(method, "resources.cpus", others)
  }
  if ((resources?.memory ?? captured.memory) !== captured.memory) {
    return yield* unsupported(method, "resources.memory", others)
  }
  if (config.network !== undefined && config.network !== "public") {
    return yield* unsupported(method, "network", "a machine that goes on has the network that it was captured with")
  }
  if (proxy !== undefined) return yield* unsupported(method, "a proxy", "a machine that goes on cannot be given one")
  const needBoot = [
    "cmd",
    "deployment",
    "entrypoint",
    "ephemeral",
    "init",
    "mounts",
    "patches",
    "rlimits",
    "scripts",
    "secrets",
    "security",
    "user"
  ] as const
  const wanted = needBoot.find((field) => config[field] !== undefined)
  if (wanted !== undefined) return yield* unsupported(method, wanted, "a machine that goes on cannot be given this")
})

/** Resumes the machine of a snapshot. It does not end with this process: if that is killed, the next sweep removes it. */
export const resume = Effect.fn("Microsandbox.createSandbox")(function* (
  context: DriverContext,
  addon: Addon,
  request: Microsandbox.CreateSandbox,
  snapshot: string
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError> {
  const method = "Microsandbox.createSandbox"
  const { home, sdk } = context
  const { config, name } = request
  const path = pathOf(home, snapshot)
  yield* requireEntryName(method, name)
  yield* Virtualization.check(method)
  yield* memoryFiles(context, method, snapshot)
  const geometry = yield* hostFile(method, path, () => geometryOf(path))
  yield* requireResumable(request, { cpus: geometry.cpus, memory: fromMebibytes(geometry.mebibytes) })
  const instance = request.labels?.[instanceLabel] ?? (yield* generate)
  const machine: Machines.Machine = {
    name,
    labels: { ...config.labels, ...request.labels, [instanceLabel]: instance },
    ...(config.cwd === undefined ? {} : { cwd: config.cwd }),
    ...(config.shell === undefined ? {} : { shell: config.shell }),
    ...(config.env === undefined ? {} : { env: config.env })
  }
  const forget = Effect.ignore(hostFile(method, name, () => Machines.removeOf(home, name, instance)))
  const cleanUp = Effect.andThen(cleanUpInstance(context, name, instance), forget)
  const restored = (config: Microsandbox.CreateSandbox["config"]) =>
    boot(
      context,
      method,
      { sandbox: name, snapshot },
      async (onPulled) => {
        onPulled()
        await Machines.write(home, machine)
        const builder = new addon.RestoreBuilder(path, "path")
        builder.name(name).forked().externalMountPolicy("relaxed")
        for (const { bind, guest, host, protocol } of publishedPorts(config)) {
          if (protocol === "tcp") builder.portBind(bind, host, guest)
          else builder.portUdpBind(bind, host, guest)
        }
        const { idleTimeout, maxDuration } = config
        if (idleTimeout !== undefined) builder.idleTimeout(Duration.toSeconds(idleTimeout))
        if (maxDuration !== undefined) builder.maxDuration(Duration.toSeconds(maxDuration))
        return builder.restore()
      },
      cleanUp
    ).pipe(
      Effect.flatMap((native) =>
        hostFile(method, name, () => Machines.write(home, { ...machine, id: native.id })).pipe(
          Effect.andThen(handleOf(context, method, { name, id: native.id })),
          Effect.map((handle) => {
            if (request.detached !== true) retainNative(context, native, handle)
            return sandboxInfo(handle)
          })
        )
      ),
      Effect.onError((cause) => (isTaken(cause) ? forget : cleanUp))
    )
  return yield* Effect.gen(function* () {
    const taken = yield* Effect.option(call(method, { sandbox: name }, () => sdk.Sandbox.get(name)))
    if (taken._tag === "Some" && request.onConflict !== "replace") {
      return yield* fromSdk(method, { sandbox: name }, new Error("[SandboxAlreadyExists] it exists"))
    }
    if (taken._tag === "Some") yield* call(method, { sandbox: name }, () => taken.value.destroy({ force: true }))
    return yield* withPorts(config, restored)
  }).pipe(takingTurns(context.names, [name]))
})

/** Gives commands the variables that the machine does not know. */
export const withVariables = (
  { home }: DriverContext,
  sandbox: Microsandbox.SandboxRef,
  guest: Guest.Guest
): Effect.Effect<Guest.Guest, LightboxError> =>
  Effect.map(
    hostFile("Microsandbox.connect", Machines.pathOf(home, sandbox.name), () => Machines.variablesOf(home, sandbox)),
    (variables): Guest.Guest =>
      variables === undefined
        ? guest
        : {
            ...guest,
            spawn: (command, output) => guest.spawn({ ...command, env: { ...variables, ...command.env } }, output)
          }
  )

export const operations = (context: DriverContext, addon: Addon): Operations => {
  const { home, sdk } = context

  const forkSandbox: Operations["forkSandbox"] = Effect.fn("Microsandbox.forkSandbox")(function* (sandbox, copies) {
    const method = "Microsandbox.forkSandbox"
    const handle = yield* handleOf(context, method, sandbox)
    yield* requireRunning(method, handle)
    yield* RootDisks.requireCopy(context, method, "forkSandbox", handle)
    for (const { name } of copies) yield* requireEntryName(method, name)
    const original = instanceOf(handle)
    const machines = yield* Effect.forEach(copies, ({ detached, labels, name }) =>
      Effect.gen(function* () {
        const instance = labels?.[instanceLabel] ?? (yield* generate)
        const machine: Machines.Machine = {
          name,
          labels: { ...labels, [instanceLabel]: instance },
          ...(original === undefined ? {} : { original })
        }
        return { machine, instance, isDetached: detached === true }
      })
    )
    const names = machines.map(({ machine }) => machine.name)
    const undo = Effect.forEach(
      machines,
      ({ instance, machine: { name } }) =>
        cleanUpInstance(context, name, instance).pipe(
          Effect.andThen(Effect.ignore(hostFile(method, name, () => Machines.removeOf(home, name, instance))))
        ),
      { discard: true }
    )
    const made = Effect.gen(function* () {
      for (const name of names) {
        const found = yield* Effect.option(call(method, { sandbox: name }, () => sdk.Sandbox.get(name)))
        if (found._tag === "Some") {
          return yield* fromSdk(method, { sandbox: name }, new Error("[SandboxAlreadyExists] it exists"))
        }
      }
      yield* Effect.forEach(machines, ({ machine }) =>
        hostFile(method, machine.name, () => Machines.write(home, machine))
      )
      const branches = yield* commit({
        method,
        subject: { sandbox: sandbox.name },
        run: async () => {
          const native = await addon.Sandbox.get(sandbox.name)
          return native.branchMany(names)
        },
        describe: Effect.succeed,
        undo: () => undo
      })
      return yield* Effect.forEach(branches, ({ error, name, sandbox: copy }) =>
        Effect.gen(function* () {
          if (copy === undefined || copy === null) {
            return yield* fromSdk(method, { sandbox: name }, new Error(error ?? "it was not copied"))
          }
          const found = machines.find(({ machine }) => machine.name === name)
          if (found === undefined) return yield* fromSdk(method, { sandbox: name }, new Error("an unknown copy"))
          yield* hostFile(method, name, () => Machines.write(home, { ...found.machine, id: copy.id }))
          const made = yield* handleOf(context, method, { name, id: copy.id })
          if (!found.isDetached) retainNative(context, copy, made)
          return sandboxInfo(made)
        })
      )
    }).pipe(Effect.onError(() => undo))
    return yield* takingTurns(context.names, [sandbox.name, ...names])(made)
  })

  return {
    captureMemory: Effect.fn("Microsandbox.captureMemory")(function* ({ labels, name, sandbox }) {
      const method = "Microsandbox.captureMemory"
      yield* requireEntryName(method, name)
      const handle = yield* call(method, { sandbox }, () => sdk.Sandbox.get(sandbox))
      yield* requireRunning(method, handle)
      yield* RootDisks.requireCopy(context, method, "captureMemory", handle)
      return yield* commit({
        method,
        subject: { snapshot: name, sandbox },
        run: () =>
          publish(
            addon,
            home,
            name,
            (staging) => {
              const builder = new addon.SnapshotBuilder(name).fromSandbox(sandbox).destDir(staging)
              for (const [key, value] of Object.entries(labels ?? {})) builder.label(key, value)
              return builder.full().guestFlush("required").create()
            },
            () => Layers.captured(home, sandbox)
          ),
        describe: (snapshot) => Effect.promise(() => snapshotInfo(name, snapshot)),
        undo: () => Effect.ignore(call(method, { snapshot: name }, () => sdk.Snapshot.remove(name, { force: true })))
      }).pipe(takingTurns(context.names, [sandbox]))
    }),
    searchMemory: Effect.fn("Microsandbox.searchMemory")(function* (name, needles) {
      const method = "Microsandbox.searchMemory"
      const files = yield* memoryFiles(context, method, name)
      const found = yield* Effect.forEach(files, (file) =>
        hostFile(method, file, (signal) => OverlayDisk.search(OverlayDisk.ofFile(file), needles, signal))
      )
      return needles.map((_, index) => found.some((of) => of[index] === true))
    }),
    forkSandbox,
    pauseSandbox: Effect.fn("Microsandbox.pauseSandbox")(function* (sandbox) {
      const method = "Microsandbox.pauseSandbox"
      const { name, status } = yield* handleOf(context, method, sandbox)
      if (status === "paused") return
      yield* call(method, { sandbox: name }, async () => (await addon.Sandbox.get(name)).pause())
    }),
    resumeSandbox: Effect.fn("Microsandbox.resumeSandbox")(function* (sandbox) {
      const method = "Microsandbox.resumeSandbox"
      const handle = yield* handleOf(context, method, sandbox)
      if (handle.status === "paused") {
        return yield* call(method, { sandbox: handle.name }, async () =>
          (await addon.Sandbox.get(handle.name)).resume()
        )
      }
      yield* requireRunning(method, handle)
    }),
    growRootDisk: Effect.fn("Microsandbox.growRootDisk")(function* (sandbox, bytes) {
      const method = "Microsandbox.growRootDisk"
      const handle = yield* handleOf(context, method, sandbox)
      yield* RootDisks.requireCopy(context, method, "growRootDisk", handle)
      const plan = yield* call(method, { sandbox: sandbox.name }, () =>
        handle.modify({ rootDiskSize: toMebibytes(bytes), policy: "no_restart" })
      )
      const [conflict] = plan.conflicts
      if (conflict !== undefined) {
        return yield* new LightboxError({
          method,
          reason: new InvalidConfig({ field: "size", problem: conflict.message })
        })
      }
    })
  }
}

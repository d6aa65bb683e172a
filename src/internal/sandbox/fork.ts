/** Copies of running sandboxes, with their memory. */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Struct from "effect/Struct"
import * as Admission from "../../Admission.ts"
import type { Services } from "../../Driver.ts"
import { LightboxError, Replaced } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Ownership from "../../Ownership.ts"
import type { Sandbox } from "../../Sandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { generate, generateName, instanceLabel, ownerLabel, roleLabel } from "../ownership/labels.ts"
import * as Metrics from "../report/metrics.ts"
import { connect } from "./connection.ts"
import { type Detach, forkingOf, type Known, knownOf, make } from "./handle.ts"
import * as Identity from "./identity.ts"
import * as Launch from "./launch.ts"
import * as RunningServices from "./services.ts"

interface ForkOptions {
  readonly method: string
  readonly count: number
  /** The copies are named after it. Default: unique names. */
  readonly name?: string | undefined
  /** What the copies are for. */
  readonly role: "scoped" | "pool"
}

/** Copies a running sandbox; the copies live as long as the scope. If one fails, all are removed. */
export const withMemory = Effect.fnUntraced(function* (
  original: Sandbox,
  { count, method, name, role }: ForkOptions
): Effect.fn.Return<ReadonlyArray<Sandbox>, LightboxError, Services | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership.Ownership
  const admission = yield* Admission.Admission
  const memory = yield* forkingOf(driver, method, "memory")
  const { config: known = {}, peers }: Partial<Known> = knownOf(original) ?? {}
  // Names and published ports are those of the original alone.
  const config: SandboxConfig = { ...known, name: undefined, hostname: undefined, ports: [] }
  const source = yield* driver.getSandbox(original.name)
  if (source.id !== original.id) {
    return yield* new LightboxError({ method, reason: new Replaced({ name: original.name }) })
  }
  const { isAttached } = yield* driver.getSandboxLifecycle(source)
  const memories = Array.from({ length: count }, () => source.memory)
  // The original, if it is ours, keeps its room.
  const rooms = yield* admission.admitAll(method, memories, isAttached ? [source.memory] : [])
  const owner = yield* ownership.id

  /** Notes a copy before it exists, and removes it with the scope. */
  const prepare = Effect.fnUntraced(function* (room: Admission.Room, index: number) {
    const copy = name === undefined ? yield* generateName() : `${name}-${index + 1}`
    const instance = yield* generate
    const note: Ownership.Note = { kind: "sandbox", token: instance, name: copy }
    // Must close after the release, which still sends messages to the guest.
    const channel = yield* Effect.flatMap(Effect.scope, Scope.fork)
    const owned = yield* Metrics.held(Metrics.ownedSandboxes, { role })
    const state = yield* Launch.releasing(note, config, Launch.releaseTimeout)
    yield* ownership.note(note)
    const labels = {
      ...Struct.omit(config.labels ?? {}, [roleLabel]),
      [instanceLabel]: instance,
      [ownerLabel]: owner,
      [roleLabel]: role
    }
    return { channel, instance, labels, name: copy, note, owned, room, state }
  })
  const copies = yield* Effect.forEach(rooms, prepare)
  const infos = yield* admission.boot(
    memory.forkSandbox(
      source,
      copies.map(({ labels, name }) => ({ name, labels }))
    )
  )

  const begin = Effect.fnUntraced(function* (
    { channel, instance, note, owned, room, state }: (typeof copies)[number],
    index: number
  ): Effect.fn.Return<Sandbox, LightboxError> {
    const info = infos[index] ?? (yield* driver.getSandbox(note.name))
    state.info = info
    const connection = yield* Scope.provide(connect(driver, info), channel)
    const { guest } = connection
    state.guest = guest
    yield* Identity.renew(guest, info, instance, config)
    yield* Identity.runHook(guest, info, instance, config)
    yield* RunningServices.begin(method, guest, info, config.services)
    const detach: Detach = (expires) => Launch.detaching(driver, ownership, info, { expires, note, owned, room, state })
    const sandbox = make(driver, info, connection, detach, config, peers, "memory")
    state.sandbox = sandbox
    return sandbox
  })
  return yield* Effect.forEach(copies, begin, { concurrency: "unbounded" })
}, Launch.allOrNothing)

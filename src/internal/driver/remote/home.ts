/** The library's records and locks in the home of a host, and what this program owns there. */
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Ownership from "../../../Ownership.ts"
import type { PushOptions } from "../../../Snapshot.ts"
import * as Listener from "../../report/listener.ts"
import { randomId } from "../../ownership/labels.ts"
import type { Client, Run } from "./client.ts"
import type * as Protocol from "./protocol.ts"
import { toJson } from "./values.ts"

const store = "Store"

/** Lines that may wait for the host. Those that listen to a lock miss some if they are slow. */
const maxWaitingLines = 2000

/** Of one request, which takes one line more. */
const maxCharacters = 1024 * 1024

/** How long the last lines may take before a lock is released. */
const lastLines = "2 seconds"

/** Sends lines to those that wait for a lock, in their order and many at once: a build may print thousands a second. */
const sender = Effect.fnUntraced(function* (
  client: Client,
  id: string
): Effect.fn.Return<(line: string) => void, never, Scope.Scope> {
  const waiting = yield* Queue.sliding<string, Cause.Done>(maxWaitingLines)
  let first = 0
  const send = (lines: ReadonlyArray<string>) =>
    Effect.suspend(() => {
      const before = first
      first += lines.length
      return Effect.ignore(client.read("Lock", (rpc, call) => rpc.sendLines({ id, first: before, lines }, call)))
    })
  const sending = Effect.gen(function* () {
    const pieces: Array<Array<string>> = []
    let characters = maxCharacters
    for (const line of yield* Queue.takeAll(waiting)) {
      if (characters >= maxCharacters) {
        pieces.push([])
        characters = 0
      }
      pieces.at(-1)?.push(line)
      characters += line.length
    }
    yield* Effect.forEach(pieces, send, { discard: true })
  }).pipe(Effect.forever, Effect.ignore)
  const fiber = yield* Effect.forkScoped(sending)
  yield* Effect.addFinalizer(() =>
    Effect.andThen(Queue.end(waiting), Fiber.await(fiber)).pipe(Effect.timeout(lastLines), Effect.ignore)
  )
  return (line) => {
    Queue.offerUnsafe(waiting, line)
  }
})

/** Acquires a lock at the host, or listens to its holder. */
const tryLock = Effect.fnUntraced(function* (
  client: Client,
  name: string,
  message: string | undefined
): Effect.fn.Return<Ownership.LockAttempt, LightboxError, Scope.Scope> {
  const id = randomId()
  const first = yield* Deferred.make<Protocol.LockEvent, LightboxError>()
  const lines = yield* Queue.unbounded<string, Cause.Done>()
  let received: ReadonlyArray<string> = []
  yield* Effect.addFinalizer(() => Effect.ignore(client.end("Lock", (rpc, call) => rpc.unlock({ id }, call))))
  const listening = client.write("Lock", (rpc, call) =>
    Stream.runForEach(rpc.lock({ id, name, message }, call), (event) => {
      if (event._tag === "Line") return Queue.offer(lines, event.line)
      if (event._tag === "Received") received = event.lines
      return Deferred.succeed(first, event)
    })
  )
  yield* listening.pipe(
    Effect.matchEffect({
      onFailure: (error) => Deferred.fail(first, error),
      onSuccess: () => Deferred.fail(first, client.incomplete("Lock"))
    }),
    Effect.ensuring(Queue.end(lines)),
    Effect.forkScoped
  )
  const event = yield* Deferred.await(first)
  if (event._tag !== "Held") return { waiting: Stream.fromQueue(lines) }
  yield* Effect.acquireRelease(
    Effect.sync(() => client.holding(1)),
    () => Effect.sync(() => client.holding(-1))
  )
  return {
    lock: {
      send: yield* sender(client, id),
      received: () => received
    }
  }
})

/** Has the host transfer a snapshot. */
const transfer = <A>(
  client: Client,
  method: string,
  start: (...args: Parameters<Run<A>>) => Stream.Stream<Protocol.TransferEvent<A>, LightboxError | RpcClientError>,
  onProgress: PushOptions["onProgress"]
): Effect.Effect<A, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const tell = onProgress === undefined ? () => {} : yield* Listener.make(onProgress)
      return yield* client.write(method, (rpc, call) => {
        let moved: Option.Option<A> = Option.none()
        const listened = Stream.runForEach(start(rpc, call), (event) =>
          Effect.sync(() => {
            if (event._tag === "Moving") tell(event.progress)
            if (event._tag === "Moved") moved = Option.some(event.result)
          })
        )
        return Effect.flatMap(listened, () =>
          Effect.mapError(Effect.fromOption(moved), () => client.incomplete(method))
        )
      })
    })
  )

export const make = (client: Client): Ownership.RemoteHome => ({
  push: ({ name, onProgress, reference, registry, s3 }) =>
    transfer(
      client,
      "Snapshot.push",
      (rpc, call) => rpc.pushSnapshot({ name, reference, access: toJson({ registry, s3 }) }, call),
      onProgress
    ),
  pull: ({ onProgress, reference, registry, s3, ...rest }) =>
    transfer(
      client,
      "Snapshot.pull",
      (rpc, call) =>
        rpc.pullSnapshot({ ...rest, reference: toJson(reference), access: toJson({ registry, s3 }) }, call),
      onProgress
    ),
  pullResult: ({ from, key, onProgress }) =>
    transfer(client, "Snapshot.pull", (rpc, call) => rpc.pullResult({ key, from: toJson(from) }, call), onProgress),
  read: (path) => client.read(store, (rpc, call) => rpc.readRecord({ path }, call)),
  write: (path, content) => client.write(store, (rpc, call) => rpc.writeRecord({ path, content }, call)),
  remove: (path) => client.write(store, (rpc, call) => rpc.removeRecord({ path }, call)),
  list: (folder) => client.read(store, (rpc, call) => rpc.listRecords({ folder }, call)),
  modifiedAt: (path) => client.read(store, (rpc, call) => rpc.recordTime({ path }, call)),
  setModifiedAt: (path, millis) => client.write(store, (rpc, call) => rpc.setRecordTime({ path, millis }, call)),
  tryLock: (name, message) => tryLock(client, name, message),
  inUse: client.read(store, (rpc, call) => rpc.inUse(undefined, call)),
  copies: Effect.orElseSucceed(
    client.write(store, (rpc, call) => rpc.copies(undefined, call)),
    () => "unknown"
  ),
  findOwner: (id) => client.read("Ownership.find", (rpc, call) => rpc.findOwner({ id }, call)),
  volumeUsage: (name) => client.read("Volume.usage", (rpc, call) => rpc.volumeUsage({ name }, call)),
  sweep: (limits) => client.write("Reaper.sweep", (rpc, call) => rpc.sweep(limits, call))
})

export const forget = (client: Client, note: Ownership.Note): Effect.Effect<void> =>
  Effect.ignore(client.end("Ownership.forget", (rpc, call) => rpc.forget({ note }, call)))

/** What this program owns: files on this machine, and everything else at the host. */
export const ownership =
  (client: Client) =>
  (local: Ownership.Ownership["Service"]): Ownership.Ownership["Service"] => ({
    id: client.write("Ownership", (rpc, call) => rpc.ownerId(undefined, call)),
    note: (note) =>
      note.kind === "file" ? local.note(note) : client.write("Ownership.note", (rpc, call) => rpc.note({ note }, call)),
    forget: (note) =>
      Effect.suspend(() => {
        if (note.kind === "file") return local.forget(note)
        // It may still come to be.
        if (note.kind === "sandbox" && client.isLate(note.token)) return Effect.void
        return forget(client, note)
      }),
    release: (note, expires) => client.write("Ownership.release", (rpc, call) => rpc.release({ note, expires }, call)),
    stage: local.stage
  })

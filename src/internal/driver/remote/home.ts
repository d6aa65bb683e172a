/** The library's records and locks in the home of a host, and what this program owns there. */
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { HostUnavailable, LightboxError } from "../../../LightboxError.ts"
import type * as Ownership from "../../../Ownership.ts"
import { type Client, randomId } from "./client.ts"
import type * as Protocol from "./protocol.ts"

const store = "Store"

/** Acquires a lock at the host, or listens to its holder. */
const tryLock = Effect.fnUntraced(function* (
  client: Client,
  name: string,
  message: string | undefined
): Effect.fn.Return<Ownership.LockAttempt, LightboxError, Scope.Scope> {
  const id = randomId()
  const first = yield* Deferred.make<Protocol.LockEvent, LightboxError>()
  const lines = yield* Queue.unbounded<string, Cause.Done>()
  const run = Effect.runForkWith(yield* Effect.context<never>())
  let received: ReadonlyArray<string> = []
  yield* Effect.addFinalizer(() => Effect.ignore(client.end("Lock", (rpc, call) => rpc.unlock({ id }, call))))
  const listening = client.write("Lock", (rpc, call) =>
    Stream.runForEach(rpc.lock({ id, name, message }, call), (event) => {
      if (event._tag === "Line") return Queue.offer(lines, event.line)
      if (event._tag === "Received") received = event.lines
      return Deferred.succeed(first, event)
    })
  )
  const unanswered = new LightboxError({
    method: "Lock",
    reason: new HostUnavailable({ host: client.url, kind: "Lost", problem: "it did not answer" })
  })
  yield* listening.pipe(
    Effect.matchEffect({
      onFailure: (error) => Deferred.fail(first, error),
      onSuccess: () => Deferred.fail(first, unanswered)
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
      send: (line) => {
        run(Effect.ignore(client.write("Lock", (rpc, call) => rpc.sendLine({ id, line }, call))))
      },
      received: () => received
    }
  }
})

export const make = (client: Client): Ownership.RemoteHome => ({
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

/** What this program owns: files on this machine, and everything else at the host. */
export const ownership =
  (client: Client) =>
  (local: Ownership.Ownership["Service"]): Ownership.Ownership["Service"] => ({
    id: client.write("Ownership", (rpc, call) => rpc.ownerId(undefined, call)),
    note: (note) =>
      note.kind === "file" ? local.note(note) : client.write("Ownership.note", (rpc, call) => rpc.note({ note }, call)),
    forget: (note) =>
      note.kind === "file"
        ? local.forget(note)
        : Effect.ignore(client.end("Ownership.forget", (rpc, call) => rpc.forget({ note }, call))),
    release: (note, expires) => client.write("Ownership.release", (rpc, call) => rpc.release({ note, expires }, call)),
    stage: local.stage
  })

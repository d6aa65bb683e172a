/**
 * What a process does that is killed: everything of the library that leaves traces, under names of its own, on a home
 * in which one of the names has been built before.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Services } from "../../src/Driver.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import * as FakeRegistry from "../Snapshot/FakeRegistry.ts"

/** A snapshot whose content differs in every version. */
export const unverified = (name: string, image: string, version: string): Snapshot.Definition<LightboxError> =>
  Snapshot.make(name, image).pipe(
    Snapshot.write("/etc/version", version),
    Snapshot.shell("cp /etc/version /root/complete")
  )

/** The same, verified before the name points to it. */
export const definition = (name: string, image: string, version: string): Snapshot.Definition<LightboxError> =>
  unverified(name, image, version).pipe(
    Snapshot.verify((sandbox) => Effect.asVoid(sandbox.shell("test -s /root/complete", { check: true })))
  )

/** Complete whenever it is read: the first line was written, the second made by a step. */
export const readVersion = (name: string): Effect.Effect<string, LightboxError, Services> =>
  Sandbox.run({ snapshot: name }, (sandbox) =>
    Effect.map(sandbox.shell("cat /etc/version; echo; cat /root/complete", { check: true }), ({ stdout }) => stdout)
  )

/** Builds, launches, executes and releases: the part that boots microVMs. */
export const core = (definition: Snapshot.Definition<LightboxError>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { name } = definition
      // Only what the name points to is kept: the old result is removed.
      const built = yield* Snapshot.build(definition, { checkpoints: "final", keep: 1 })
      const sandbox = yield* Sandbox.launch({ snapshot: built, name: `${name}-job` })
      yield* sandbox.exec("sh", ["-c", "echo more > /root/more"], { check: true })
    })
  )

/** Whether whoever sweeps first may remove something: what an ended process, or an ended virtual machine, has left. */
export const isAnybodys = ({ name, resource }: { readonly name: string; readonly resource: string }): boolean =>
  resource === "lock" || /\/\.tmp\w{6}$/.test(name)

type Work = (
  name: string,
  image: string,
  files: string
) => Effect.Effect<unknown, LightboxError, Services | Scope.Scope>

/** The parts of the work, each on a home of its own. */
export const parts: { readonly [part: string]: Work } = {
  core: (name, image) => core(definition(name, image, "2")),
  rebuild: Effect.fnUntraced(function* (name, image) {
    // Results on the way, under new keys, a step that fails, and the way back.
    yield* Snapshot.build(definition(name, image, "1"), { checkpoints: "every-step", force: true })
    yield* Snapshot.build(definition(name, image, "3").pipe(Snapshot.shell("exit 1")), { checkpoints: "final" }).pipe(
      Effect.catchReason("LightboxError", "CommandFailed", () => Effect.void)
    )
    yield* Snapshot.rollback(name)
    yield* Snapshot.prune()
  }),
  launch: Effect.fnUntraced(function* (name, image) {
    yield* Sandbox.run({ image, name: `${name}-mounted`, mounts: { "/shared": { volume: "shared" } } }, (sandbox) =>
      sandbox.shell("cat /shared/kept", { check: true })
    )
    yield* Sandbox.run({ image, name: `${name}-detached` }, (sandbox) => sandbox.detach)
    yield* Sandbox.run({ image, name: `${name}-leased` }, (sandbox) => sandbox.detachFor("1 second"))
  }),
  transfer: Effect.fnUntraced(function* (name, image, files) {
    const moved = `${name}-moved`
    yield* Snapshot.build(definition(moved, image, "moved"), { checkpoints: "final" })
    yield* Snapshot.save(moved, `${files}/saved`)
    yield* Snapshot.remove(moved)
    yield* Snapshot.prune()
    yield* Snapshot.load(`${files}/saved`)
    yield* Snapshot.load(`${files}/saved`, { trusted: true, overwrite: true })
  }),
  registry: Effect.fnUntraced(function* (name, image) {
    const { host } = yield* FakeRegistry.make
    const reference = `${host}/crash/${name}:1`
    const moved = `${name}-moved`
    yield* Snapshot.build(definition(moved, image, "moved"), { checkpoints: "final" })
    yield* Snapshot.push(moved, reference)
    yield* Snapshot.remove(moved)
    yield* Snapshot.prune()
    yield* Snapshot.pull(moved, reference)
    yield* Snapshot.pull(moved, reference, { trusted: false, keep: 1 })
  }),
  foreign: Effect.fnUntraced(function* (name, _image, files) {
    const driver = yield* Microsandbox.Microsandbox
    yield* driver.saveSnapshot(name, `${files}/foreign`)
    yield* Snapshot.load(`${files}/foreign`, { name: `${name}-foreign`, overwrite: true })
    yield* Snapshot.remove(`${name}-foreign`)
  }),
  scoped: Effect.fnUntraced(function* (name, image) {
    const definition = Snapshot.make(`${name}-scoped`, image).pipe(Snapshot.shell("echo scoped > /root/scoped"))
    yield* Snapshot.buildScoped(definition, { checkpoints: "final" })
  }),
  names: Effect.fnUntraced(function* (name, image, files) {
    // What another tool has made loses its name twice: at once, and when only one generation is kept.
    yield* Snapshot.build(unverified(`${name}-tool`, image, "2"), {
      checkpoints: "final",
      replaceForeign: true,
      keep: 1
    })
    yield* Snapshot.save(name, `${files}/saved`, { generations: "current" })
    yield* Snapshot.load(`${files}/saved`, { name: `${name}-other`, overwrite: true })
    yield* Snapshot.prune({ keep: 1 })
  }),
  memory: Effect.fnUntraced(function* (name, image) {
    const { memory } = yield* Microsandbox.Microsandbox
    if (memory === undefined) return
    const warm = `${name}-moved`
    yield* Snapshot.build(definition(warm, image, "moved"), { checkpoints: "final", warm: true, keep: 1 })
    yield* Sandbox.run({ snapshot: warm, name: `${name}-resumed` }, (sandbox) =>
      Effect.gen(function* () {
        yield* Sandbox.fork(sandbox, { memory: true, name: `${name}-fork` })
        yield* sandbox.pause
      })
    )
    yield* Snapshot.remove(warm)
    yield* Snapshot.prune()
  }),
  volumes: Effect.fnUntraced(function* (name, image) {
    const volume = `${name}-volume`
    const fill = Sandbox.run({ image, name: `${name}-filling`, mounts: { "/v": { volume } } }, (sandbox) =>
      sandbox.shell("echo filled > /v/filled", { check: true })
    )
    yield* Volume.prime(volume, () => fill)
    yield* Effect.scoped(Volume.exclusive("shared"))
    yield* Volume.ensure(volume, { labels: { changed: "yes" }, onDrift: "recreate" })
    yield* Volume.remove(volume)
  })
}

/** A call of each operation of the modules that work on one home. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Services } from "../../src/Driver.ts"
import * as BuildRecord from "../../src/BuildRecord.ts"
import * as Image from "../../src/Image.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxRecord from "../../src/SandboxRecord.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"

interface Calls {
  readonly [operation: string]: Effect.Effect<unknown, unknown, Services | Scope.Scope>
}

const definition = Snapshot.make("a", "absent")

/** A call of each operation. Most of them fail, because nothing exists. */
export const calls: { readonly [module: string]: Calls } = {
  BuildRecord: {
    get: BuildRecord.get("a-b-c"),
    list: BuildRecord.list()
  },
  Image: {
    get: Image.get("a"),
    list: Image.list(),
    load: Image.load("/absent"),
    prune: Image.prune(),
    remove: Image.remove("a"),
    save: Image.save(["a"], "/absent/file")
  },
  Sandbox: {
    connect: Sandbox.connect("a"),
    fork: Effect.flatMap(Sandbox.launch({ image: "plain" }), (sandbox) => Sandbox.fork(sandbox)),
    get: Sandbox.get("a"),
    getOrCreate: Sandbox.getOrCreate("a", { image: "absent" }),
    group: Sandbox.group({ a: { image: "absent" } }),
    kill: Sandbox.kill("a"),
    launch: Sandbox.launch({ image: "absent" }),
    list: Sandbox.list(),
    pause: Sandbox.pause("a"),
    remove: Sandbox.remove("a"),
    restart: Sandbox.restart("a"),
    resume: Sandbox.resume("a"),
    start: Sandbox.start("a"),
    stop: Sandbox.stop("a"),
    waitFor: Sandbox.waitFor("a", "running")
  },
  SandboxRecord: {
    get: SandboxRecord.get("a-b-c"),
    list: SandboxRecord.list()
  },
  Snapshot: {
    build: Snapshot.build(definition),
    buildScoped: Snapshot.buildScoped(definition),
    capture: Snapshot.capture("a", { name: "b" }),
    diff: Snapshot.diff("a", "b"),
    exists: Snapshot.exists("a"),
    fromDockerfile: Snapshot.fromDockerfile("a", "/absent"),
    generations: Snapshot.generations("a"),
    get: Snapshot.get("a"),
    list: Snapshot.list(),
    load: Snapshot.load("/absent"),
    push: Snapshot.push("absent", "localhost:1/absent"),
    pull: Snapshot.pull("absent", "not a reference"),
    plan: Snapshot.plan(definition),
    prune: Snapshot.prune(),
    remove: Snapshot.remove("a"),
    rollback: Snapshot.rollback("a"),
    save: Snapshot.save("a", "/absent/file"),
    tag: Snapshot.tag("a", "b")
  },
  Volume: {
    ensure: Volume.ensure("a"),
    exclusive: Volume.exclusive("b"),
    exists: Volume.exists("b"),
    files: Volume.files("b"),
    get: Volume.get("b"),
    list: Volume.list(),
    prime: Volume.prime("c", () => Effect.void),
    prune: Volume.prune({}),
    remove: Volume.remove("b"),
    scoped: Volume.scoped("d"),
    usage: Volume.usage("b")
  }
}

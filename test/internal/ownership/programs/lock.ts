/**
 * Takes a lock again and again: `lock.ts hold FOLDER`, which says so and keeps it, or `lock.ts count FOLDER ROUNDS`,
 * which increments a number in a file that nobody else may read meanwhile.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Lock from "../../../../src/internal/ownership/lock.ts"

const [what, folder = "", rounds] = process.argv.slice(2)

const file = (name: string) => Path.join(folder, name)

const hold = Effect.scoped(
  Effect.gen(function* () {
    const lock = yield* Lock.acquire(folder, "name")
    yield* Console.log("held")
    process.stdin.on("data", (line) => lock.send(line.toString().trimEnd()))
    return yield* Effect.never
  })
)

const count = Effect.scoped(
  Effect.gen(function* () {
    yield* Lock.acquire(folder, "name")
    // Fails if somebody else holds the lock.
    Fs.writeFileSync(file("inside"), "", { flag: "wx" })
    const before = Number(Fs.readFileSync(file("count"), "utf8"))
    yield* Effect.yieldNow
    Fs.writeFileSync(file("count"), String(before + 1))
    Fs.rmSync(file("inside"))
  })
)

NodeRuntime.runMain(what === "hold" ? hold : Effect.repeat(count, { times: Number(rounds) - 1 }))

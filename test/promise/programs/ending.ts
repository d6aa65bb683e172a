/**
 * Does something on the driver in memory, prints `ready` in the middle of it, and ends there as its argument says:
 * `ending.ts HOME WORK END`
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Runtime from "../../../src/internal/promise/runtime.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import { buildSnapshot, launchSandbox, runInSandbox } from "../../../src/promise.ts"

const [home = "", work = "", end = ""] = process.argv.slice(2)

const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** What an end is told with: something that would go on for ever. */
const forever = () => new Promise<never>(() => setInterval(() => {}, 1_000_000))

const ends: { readonly [name: string]: () => Promise<number> } = {
  wait: forever,
  exit: () => process.exit(3),
  throw: () => {
    setImmediate(() => {
      throw new Error("on purpose")
    })
    return forever()
  },
  reject: () => {
    void Promise.reject(new Error("on purpose"))
    return forever()
  },
  fail: () => Promise.reject(new Error("on purpose")),
  return: async () => 0,
  // A program that handles the signal and ends itself.
  listen: () =>
    new Promise((resolve) => {
      const timer = setInterval(() => {}, 1_000_000)
      process.on("SIGTERM", () => {
        clearInterval(timer)
        resolve(0)
      })
    }),
  // One that handles the signal, and does not end.
  ignore: () => {
    process.on("SIGTERM", () => say("ignored"))
    return forever()
  }
}

/** Another copy of the library in this process. */
const copy = process.env["LIGHTBOX_COPY"] ?? ""

const then = (): Promise<number> => {
  say("ready")
  return ends[end]?.() ?? Promise.reject(new Error(`no such end: ${end}`))
}

const works: { readonly [name: string]: () => Promise<unknown> } = {
  run: () => runInSandbox({ snapshot: "base", name: "s" }, then),
  "hanging release": () => runInSandbox({ snapshot: "base", name: "s" }, then),
  "two copies": async () => {
    const other: typeof Runtime = await import(`${copy}/internal/promise/runtime.ts`)
    const twin: typeof MicrosandboxMemory = await import(`${copy}/MicrosandboxMemory.ts`)
    const promises: { readonly launchSandbox: typeof launchSandbox } = await import(`${copy}/promise.ts`)
    other.provide(twin.layer({ home }))
    await promises.launchSandbox({ snapshot: "base", name: "of-the-copy" })
    await runInSandbox({ snapshot: "base", name: "s" }, then)
  },
  command: () =>
    runInSandbox({ snapshot: "base", name: "s" }, (sb) => {
      void then()
      return sb.exec("sleep", ["1000"])
    }),
  launch: async () => {
    await launchSandbox({ snapshot: "base", name: "s" })
    await then()
  },
  detach: async () => {
    await (await launchSandbox({ snapshot: "base", name: "s" })).detach()
    await then()
  },
  boot: async () => {
    const launched = launchSandbox({ snapshot: "base", name: "s" })
    await then()
    await launched
  },
  build: () =>
    buildSnapshot(
      { name: "endless", image: "debian:12", setup: ["true", "sleep 1000"] },
      { onEvent: (event) => (event._tag === "StepStarted" && event.index === 2 ? void then() : undefined) }
    )
}

const faults =
  work === "boot"
    ? [MicrosandboxMemory.hangAt("createSandbox")]
    : work === "hanging release"
      ? [MicrosandboxMemory.hangAt("removeSandbox")]
      : []

/** Prints when the release starts. */
const watch = (context: Context.Context<MicrosandboxMemory.Control>) =>
  Context.get(context, MicrosandboxMemory.Control).calls.pipe(
    Effect.repeat({ until: (calls) => calls.some(({ operation }) => operation === "removeSandbox") }),
    Effect.andThen(Effect.sync(() => say("releasing"))),
    Effect.forkScoped
  )

const twin = MicrosandboxMemory.layer({ home, faults })
Runtime.provide(work === "hanging release" ? Layer.effectContext(Effect.tap(Layer.build(twin), watch)) : twin)
await works[work]?.()
say("done")

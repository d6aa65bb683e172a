/**
 * Sandboxes for tests that run under Vitest: one for each test, file or worker, from a pool. A failing test shows the last
 * log lines of its sandbox; a passing one prints nothing.
 *
 * **Example** (A sandbox for each test)
 *
 * ```ts
 * import { sandboxTest } from "effect-lightbox/vitest"
 * import { expect, test as base } from "vitest"
 *
 * const test = sandboxTest(base, { image: "busybox", network: "none" })
 *
 * test("runs in a sandbox", async ({ sandbox }) => {
 *   expect((await sandbox.exec("echo", ["hello"])).stdout()).toBe("hello\n")
 * })
 * ```
 *
 * **Example** (With `@effect/vitest`)
 *
 * ```ts
 * import { assert, layer } from "@effect/vitest"
 * import { Effect, Layer } from "effect"
 * import { MicrosandboxLocal, SandboxPool } from "effect-lightbox"
 * import { withSandbox } from "effect-lightbox/vitest"
 *
 * const pool = SandboxPool.layer({ image: "busybox", network: "none", max: 2 }).pipe(
 *   Layer.provide(MicrosandboxLocal.layer())
 * )
 *
 * layer(pool, { excludeTestServices: true })("programs", (it) => {
 *   it.effect("runs in a sandbox", (test) =>
 *     withSandbox(test, (sandbox) =>
 *       Effect.map(sandbox.exec("echo", ["hello"]), ({ stdout }) => assert.strictEqual(stdout, "hello\n"))
 *     )
 *   )
 * })
 * ```
 *
 * @since 0.1.0
 */
// @effect-diagnostics asyncFunction:off
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { TestAPI } from "vitest"
import { Func } from "./internal/config/schemas.ts"
import { checkObject, decoder } from "./internal/config/validation.ts"
import { runNow } from "./internal/promise/runtime.ts"
import { quote, redact } from "./internal/report/failureText.ts"
import { knownOf } from "./internal/sandbox/handle.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Promises from "./promise.ts"
import type * as Sandboxes from "./Sandbox.ts"
import * as SandboxPool from "./SandboxPool.ts"

/**
 * What this module uses of a test's context.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestContext {
  readonly task: { readonly result?: { readonly state: string; readonly errors?: Array<TestError> } }
  readonly onTestFailed: (report: () => void) => void
}

/**
 * An error of a test, as it is reported.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestError {
  message: string
  stack?: string
}

/**
 * Options of {@link sandboxTest}: those of each sandbox, what it starts from, and how long a test keeps it.
 *
 * @category options
 * @since 0.1.0
 */
export type SandboxTestOptions = Omit<Promises.PoolOptions, "image" | "max" | "signal" | "snapshot"> & {
  /** Maximum number of sandboxes at once, in each worker. Default: 2 for `"test"`, else 1. */
  max?: number | undefined
  /**
   * A fresh sandbox for each `"test"`, or one that the tests of a `"file"` or of a `"worker"` share. Default: `"test"`.
   */
  per?: "test" | "file" | "worker" | undefined
} & (
    | {
        /** OCI image to boot from. */
        image: string
        snapshot?: undefined
      }
    | {
        /** Name of a snapshot, or a definition, which is built for the tests and removed after them. */
        snapshot: string | Promises.SnapshotConfig
        image?: undefined
      }
  )

const decode = decoder(
  Schema.Struct({
    per: Schema.optional(Schema.Literals(["test", "file", "worker"])),
    prepare: Schema.optional(Func)
  }),
  "sandboxTest"
)

/** Checks what can be checked before a test needs a sandbox. */
const check = (options: SandboxTestOptions): Effect.Effect<void, LightboxError> =>
  Effect.andThen(checkObject("sandboxTest", options), () => {
    const { per, prepare } = options
    return Effect.asVoid(decode({ per, prepare }))
  })

/**
 * What {@link sandboxTest} adds to the context of a test.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxContext {
  /** The options of {@link sandboxTest}. */
  readonly sandboxOptions: SandboxTestOptions
  /** The sandbox of this test. */
  readonly sandbox: Promises.Sandbox
  /** The pool that it comes from. */
  readonly pool: Promises.SandboxPool
  /** The sandbox that tests share, with `per: "file"` or `"worker"`. */
  readonly sharedSandbox: Promises.Sandbox
}

/**
 * Extends Vitest's `test` with fixtures: `sandbox`, which is ready when a test that names it starts and is removed after
 * it, and the `pool` it comes from. Nothing boots unless a test names one of them. Own fixtures: extend the result.
 *
 * A failing test shows the name of its sandbox and the last lines that its commands wrote, in every reporter.
 *
 * Throws `InvalidConfig` for a wrong `per` or `prepare`; tests fail with it for other options.
 *
 * **Example** (Fork a state that takes long for every test)
 *
 * ```ts
 * import { sandboxTest } from "effect-lightbox/vitest"
 * import { expect, test as base } from "vitest"
 *
 * const test = sandboxTest(base, {
 *   image: "node:22",
 *   prepare: async (sandbox, options) => {
 *     await sandbox.fs().copyFromHost("./fixture", "/work", options)
 *     await sandbox.shell("cd /work && npm ci", { ...options, check: true })
 *   }
 * })
 *
 * test("passes its own tests", async ({ sandbox }) => {
 *   expect((await sandbox.shell("cd /work && npm test")).code).toBe(0)
 * })
 * ```
 *
 * @see {@link withSandbox} for `@effect/vitest`
 * @category testing
 * @since 0.1.0
 */
export const sandboxTest = (test: TestAPI, options: SandboxTestOptions): TestAPI<SandboxContext> => {
  const { per = "test" } = runNow(Effect.as(check(options), options))
  const report = async (task: TestContext["task"], sandbox: Promises.Sandbox): Promise<void> => {
    if (task.result?.state === "fail") annotate(task.result.errors, sandbox.name, await lastLines(sandbox))
  }
  return test.extend<SandboxContext>({
    sandboxOptions: [options, { scope: "worker" }],
    pool: [
      async ({ sandboxOptions }, use) => {
        const { image, max, min, per: _per, snapshot, ...rest } = sandboxOptions
        await using built = typeof snapshot === "object" ? await Promises.buildTemporarySnapshot(snapshot) : undefined
        const name = built?.name ?? (typeof snapshot === "string" ? snapshot : undefined)
        await using pool = await Promises.createPool({
          ...rest,
          ...(name === undefined ? { image: image ?? "" } : { snapshot: name }),
          min: min ?? (per === "test" ? 1 : 0),
          max: max ?? (per === "test" ? 2 : 1)
        })
        await use(pool)
      },
      { scope: "worker" }
    ],
    sharedSandbox: [
      async ({ pool }, use) => {
        await using sandbox = await pool.acquire()
        await use(sandbox)
      },
      { scope: per === "file" ? "file" : "worker" }
    ],
    sandbox:
      per === "test"
        ? async ({ pool, task }, use) => {
            await using sandbox = await pool.acquire()
            await use(sandbox)
            await report(task, sandbox)
          }
        : async ({ sharedSandbox, task }, use) => {
            await use(sharedSandbox)
            await report(task, sharedSandbox)
          }
  })
}

/**
 * Passes a fresh sandbox of the program's {@link SandboxPool} to a function, for one test of `@effect/vitest`, and removes
 * it afterwards. If the test fails, its report shows the last lines of the sandbox's log.
 *
 * To start every test from a state that takes long, pass `prepare` to the pool.
 *
 * @see {@link reporting} for a sandbox that tests share
 * @category testing
 * @since 0.1.0
 */
export const withSandbox = <A, E, R>(
  test: TestContext,
  use: (sandbox: Sandboxes.Sandbox) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | LightboxError, SandboxPool.SandboxPool | Exclude<R, Scope.Scope>> =>
  SandboxPool.SandboxPool.use((pool) => pool.use((sandbox) => reporting(test, sandbox)(use(sandbox))))

/**
 * Runs a test in a sandbox that it shares with others, such as that of `Sandbox.layer`. If the test fails, its report
 * shows the last lines of the sandbox's log.
 *
 * @category testing
 * @since 0.1.0
 */
export const reporting =
  (test: TestContext, sandbox: Sandboxes.Sandbox) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.onError(effect, () =>
      sandbox.logs({ tail: shownEntries }).pipe(
        Stream.runCollect,
        Effect.timeout(limitMillis),
        Effect.map((entries) => shown(sandbox, entries.map(({ text }) => text).join(""))),
        Effect.catch((error) => Effect.succeed(unreadable(error))),
        Effect.flatMap((text) =>
          Effect.sync(() => test.onTestFailed(() => annotate(test.task.result?.errors, sandbox.name, text)))
        )
      )
    )

const shownEntries = 20

const limitMillis = 5_000

/** A log without the secrets that the handle knows. */
const shown = (sandbox: Sandboxes.Sandbox, text: string): string => redact(knownOf(sandbox)?.secrets() ?? [], text)

const unreadable = (error: unknown): string =>
  `(cannot be read: ${error instanceof Error ? error.message : String(error)})`

const lastLines = async (sandbox: Promises.Sandbox): Promise<string> => {
  const inner = Promises.Sandbox.inner(sandbox)
  let text = ""
  try {
    const entries = sandbox.logs({ tail: shownEntries, signal: AbortSignal.timeout(limitMillis) })
    for await (const entry of entries) text += entry.text
  } catch (error) {
    text += unreadable(error)
  }
  return shown(inner, text)
}

/** Adds to the message, and to the stack, which begins with it: every reporter shows one of them. */
const annotate = (errors: ReadonlyArray<TestError> | undefined, name: string, text: string): void => {
  // Of several attempts, the last one.
  const error = errors?.at(-1)
  if (error === undefined) return
  const lines = text.trimEnd()
  const quoted = quote(lines === "" ? ["(none)"] : lines.split("\n"))
  const message = `${error.message}\n\nThe last lines of sandbox "${name}":${quoted}\n`
  if (error.stack !== undefined) error.stack = error.stack.replace(error.message, () => message)
  error.message = message
}

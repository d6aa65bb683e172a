/**
 * The Promise adapter on the driver in memory.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { assert } from "@effect/vitest"
import { afterEach, beforeEach, vi } from "vitest"
import * as Runtime from "../../src/internal/promise/runtime.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { LightboxError } from "../../src/promise.ts"

type Control = MicrosandboxMemory.Control["Service"]

/** What tests use of the twin beyond the adapter. */
export interface Twin {
  readonly calls: () => Promise<ReadonlyArray<MicrosandboxMemory.Call>>
  /** How often an operation was called. */
  readonly count: (operation: MicrosandboxMemory.Operation) => Promise<number>
  /** Waits until an operation was called so often, or once. */
  readonly until: (operation: MicrosandboxMemory.Operation, times?: number) => Promise<void>
  readonly inject: (...faults: ReadonlyArray<MicrosandboxMemory.Fault>) => Promise<void>
  readonly inventory: () => Promise<MicrosandboxMemory.Inventory>
  readonly setImage: (reference: string, image: MicrosandboxMemory.Image) => Promise<void>
}

/** Gives each test of a file its own driver in memory, and fails a test that leaves something running. */
export const twin = (options?: MicrosandboxMemory.Options): Twin => {
  let control: Control | undefined
  let restore: (() => Promise<void>) | undefined
  const ask = async <A>(question: (control: Control) => Effect.Effect<A, LightboxError>): Promise<A> => {
    assert.isDefined(control)
    return await Effect.runPromise(question(control))
  }
  beforeEach(async () => {
    const layer = Layer.effectContext(
      Effect.tap(Layer.build(MicrosandboxMemory.layer(options)), (context) =>
        Effect.sync(() => {
          control = Context.get(context, MicrosandboxMemory.Control)
        })
      )
    )
    restore = Runtime.provide(layer).close
    await Runtime.run(Effect.void)
  })
  afterEach(async () => {
    const { processes } = await ask(({ inventory }) => inventory)
    await restore?.()
    assert.deepStrictEqual(processes, [])
  })
  const twin: Twin = {
    calls: () => ask(({ calls }) => calls),
    count: async (operation) => (await twin.calls()).filter((call) => call.operation === operation).length,
    until: (operation, times = 1) =>
      vi.waitFor(async () => assert.isAtLeast(await twin.count(operation), times), { timeout: 20_000 }),
    inject: (...faults) => ask(({ inject }) => inject(...faults)),
    inventory: () => ask(({ inventory }) => inventory),
    setImage: (reference, image) => ask(({ setImage }) => setImage(reference, image))
  }
  return twin
}

/** The error of this library that a promise was rejected with. */
export const rejection = async (promise: Promise<unknown>): Promise<LightboxError> => {
  try {
    await promise
  } catch (error) {
    if (error instanceof LightboxError) return error
    throw error
  }
  return assert.fail("it was not rejected")
}

/** Whatever a promise was rejected with; a text if it was not. */
export const reasonOf = async (promise: Promise<unknown>): Promise<unknown> =>
  await promise.then(
    () => "it was not rejected",
    (reason: unknown) => reason
  )

/** What a program without types passes. */
export const untyped = (value: unknown): ReturnType<JSON["parse"]> => JSON.parse(JSON.stringify(value))

/** The field that an error names. */
export const wrongField = ({ reason }: LightboxError): unknown =>
  reason._tag === "InvalidConfig" ? reason.field : undefined

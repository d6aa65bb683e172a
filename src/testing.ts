/**
 * Tests programs without virtual machines.
 *
 * **Example** (A test that takes milliseconds)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const test = Sandbox.run({ image: "alpine:3" }, (sandbox) => sandbox.shell("echo hello")).pipe(
 *   Effect.provide(MicrosandboxMemory.layer())
 * )
 * ```
 *
 * @since 0.1.0
 */
/**
 * The in-memory `Microsandbox`, with its images, commands, faults and the service
 * that observes it.
 *
 * @category testing
 * @since 0.1.0
 */
export * as MicrosandboxMemory from "./MicrosandboxMemory.ts"

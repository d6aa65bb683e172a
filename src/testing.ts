/**
 * Testing programs without virtual machines.
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
 * The in-memory `Microsandbox`, the images and commands that it has, the faults
 * that it can meet, and the service to look behind it.
 *
 * **Example** (A machine that dies at its second command)
 *
 * ```ts
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const layer = MicrosandboxMemory.layer({
 *   faults: [MicrosandboxMemory.killGuestAt("guest.spawn", { nth: 2 })]
 * })
 * ```
 *
 * @category testing
 * @since 0.1.0
 */
export * as MicrosandboxMemory from "./MicrosandboxMemory.ts"

/**
 * Replaces `MicrosandboxLocal` while the programs in documents run, so that they run in memory.
 */
import type * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"

export const layer: typeof MicrosandboxLocal.layer = () => MicrosandboxMemory.layer()

export const layerConfig: typeof MicrosandboxLocal.layerConfig = () => MicrosandboxMemory.layer()

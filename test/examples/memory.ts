/**
 * Replaces `MicrosandboxLocal` while the programs in documents run, so that they run in memory.
 */
import type * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { node } from "../Interpreter/native.ts"

export const layer: typeof MicrosandboxLocal.layer = () => MicrosandboxMemory.layer({ commands: { node } })

export const layerConfig: typeof MicrosandboxLocal.layerConfig = () => MicrosandboxMemory.layer({ commands: { node } })

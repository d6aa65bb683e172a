/**
 * Bake microVM snapshots and run sandboxes.
 *
 * @since 0.1.0
 */
export * as Admission from "./Admission.ts"
export * as Driver from "./Driver.ts"
export * as Guest from "./Guest.ts"
export * as Job from "./Job.ts"
export * as Lightbox from "./Lightbox.ts"
export * as LightboxError from "./LightboxError.ts"
export * as Microsandbox from "./Microsandbox.ts"
export * as MicrosandboxCloud from "./MicrosandboxCloud.ts"
export * as MicrosandboxLocal from "./MicrosandboxLocal.ts"
export * as Mount from "./Mount.ts"
export * as Network from "./Network.ts"
export * as Ownership from "./Ownership.ts"
export * as Probe from "./Probe.ts"
export * as Reaper from "./Reaper.ts"
export * as Sandbox from "./Sandbox.ts"
export * as SandboxConfig from "./SandboxConfig.ts"
export * as SandboxPool from "./SandboxPool.ts"
export * as BuildEvent from "./BuildEvent.ts"
export * as Cleanup from "./Cleanup.ts"
export * as Image from "./Image.ts"
export * as Preset from "./Preset.ts"
export * as Plan from "./Plan.ts"
export * as Snapshot from "./Snapshot.ts"
export * as Volume from "./Volume.ts"

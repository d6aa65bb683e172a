/**
 * What is tried out before it is stable: drivers of runtimes that are not released.
 *
 * Everything here can change with every version.
 *
 * @since 0.1.0
 */

/**
 * Runs sandboxes on this machine with microsandbox 0.7.
 *
 * @category drivers
 * @since 0.1.0
 */
export * as MicrosandboxPreview from "./MicrosandboxPreview.ts"

/// <reference lib="esnext.disposable" preserve="true" />

/**
 * Options of every function.
 *
 * **Example** (Give up after a second)
 *
 * ```ts
 * import { listSnapshots } from "effect-lightbox/promise"
 *
 * export const snapshots = listSnapshots({ signal: AbortSignal.timeout(1000) })
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface CallOptions {
  /** Stops the call, cleans up, and rejects with the signal's reason. Default: none. */
  readonly signal?: AbortSignal | undefined
}

/// <reference lib="esnext.disposable" preserve="true" />

import type { Size } from "../config/plain.ts"

/**
 * Options of every function.
 *
 * @category options
 * @since 0.1.0
 */
export interface CallOptions {
  /** Stops the call, cleans up, and rejects with the signal's reason. Default: none. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Options of functions that read a file of the guest.
 *
 * @category options
 * @since 0.1.0
 */
export interface FsReadOptions extends CallOptions {
  /** Rejects when there is more than this, in bytes or as a size such as `"1 GiB"`. */
  readonly maxBytes?: number | Size | undefined
}

/// <reference lib="esnext.disposable" preserve="true" />

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

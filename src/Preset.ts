/**
 * Ready-made definitions. Pipe one through more steps to extend it. For the Promise
 * API, `effect-lightbox/presets` has the same presets as plain objects.
 *
 * **Example** (Adding a tool)
 *
 * ```ts
 * import { Preset, Sandbox, Snapshot } from "effect-lightbox"
 *
 * const nodeCi = Preset.nodeCi().pipe(Snapshot.npm(["turbo"]))
 *
 * export const version = Sandbox.run({ snapshot: Snapshot.build(nodeCi) }, (sandbox) => sandbox.shell("turbo --version"))
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { check, define } from "./internal/promise/definition.ts"
import * as presets from "./presets.ts"
import type { PresetConfig } from "./promise.ts"
import type { Definition } from "./Snapshot.ts"

const checked = (config: PresetConfig): Definition => {
  Effect.runSync(check("Preset", config))
  return define(config, () => () => Effect.void)
}

/**
 * Options of every preset.
 *
 * @category options
 * @since 0.1.0
 */
export type Options = presets.PresetOptions

/**
 * Four coding agents: the commands `copilot`, `gemini`, `codex` and `pi`. The
 * snapshot contains no keys; pass them at launch as secrets.
 *
 * @category presets
 * @since 0.1.0
 */
export const codingAgents = (options?: Options): Definition => checked(presets.codingAgentsPreset(options))

/**
 * Node.js with pnpm and git, for a project's tests.
 *
 * @category presets
 * @since 0.1.0
 */
export const nodeCi = (options?: Options): Definition => checked(presets.nodeCiPreset(options))

/**
 * Python with NumPy, pandas and Matplotlib.
 *
 * @category presets
 * @since 0.1.0
 */
export const pythonData = (options?: Options): Definition => checked(presets.pythonDataPreset(options))

/**
 * Chromium with fonts, as the command `chromium`.
 *
 * @category presets
 * @since 0.1.0
 */
export const browser = (options?: Options): Definition => checked(presets.browserPreset(options))

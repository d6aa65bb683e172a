/**
 * Ready-made snapshot configurations for the Promise API.
 *
 * Each function returns a new plain object for `buildSnapshot`; add to its `setup`
 * to extend it. With Effect, use the module `Preset` instead. Importing this module
 * loads no other part of the library.
 *
 * **Example** (Adding a tool)
 *
 * ```ts
 * import { codingAgentsPreset } from "effect-lightbox/presets"
 * import { buildSnapshot, shell } from "effect-lightbox/promise"
 *
 * const config = codingAgentsPreset({ name: "lightbox-plus" })
 * config.setup.push(shell("apt-get update && apt-get install -y ripgrep", "ripgrep"))
 *
 * await buildSnapshot(config)
 * ```
 *
 * @since 0.1.0
 */
import { aptInstall } from "./internal/definition/scripts.ts"
import type { PresetConfig, SetupStep, SnapshotResources } from "./promise.ts"

/**
 * Options of every preset.
 *
 * @category options
 * @since 0.1.0
 */
export interface PresetOptions {
  /** Name of the snapshot. Default: the preset's. */
  name?: string | undefined
  /** Base image. Default: the preset's. */
  image?: string | undefined
  /** Resources of the builder. Default: the preset's. */
  resources?: SnapshotResources | undefined
  /** Labels of the snapshot. Default: none. */
  labels?: Record<string, string> | undefined
}

/** Keeps unknown options in the configuration, so that the build rejects them by name. */
const preset = (options: PresetOptions, defaults: PresetConfig): PresetConfig => {
  if (typeof options !== "object" || options === null || Array.isArray(options))
    return Object.assign({ ...defaults }, { options })
  const { image = defaults.image, labels, name = defaults.name, resources = defaults.resources, ...unknown } = options
  return { ...defaults, name, image, resources, labels, ...unknown }
}

const shell = (description: string, script: string): SetupStep => ({ kind: "shell", script, description })

const apt = (...packages: ReadonlyArray<string>): SetupStep =>
  shell(`install ${packages.join(", ")}`, aptInstall(packages))

/** The last step of a preset: a missing command fails the build rather than the first use. */
const check = (...commands: ReadonlyArray<string>): SetupStep =>
  shell(`check ${commands.join(", ")}`, commands.map((command) => `command -v ${command}`).join(" && "))

/**
 * Options of {@link codingAgentsPreset}.
 *
 * @category options
 * @since 0.1.0
 */
export interface CodingAgentsPresetOptions extends PresetOptions {}

/**
 * Four coding agents: the commands `copilot`, `gemini`, `codex` and `pi`. Snapshot
 * `lightbox` from the image `oven/bun`, built with two processors and 1 GiB of
 * memory.
 *
 * The snapshot contains no keys. Pass them at launch as secrets for their hosts:
 * the agent sees a placeholder, which the host replaces in outgoing requests.
 *
 * **Example** (An agent that never sees its key)
 *
 * ```ts
 * import { codingAgentsPreset } from "effect-lightbox/presets"
 * import { buildSnapshot, runInSandbox } from "effect-lightbox/promise"
 *
 * await buildSnapshot(codingAgentsPreset())
 *
 * const answer = await runInSandbox(
 *   {
 *     snapshot: "lightbox",
 *     name: "agent-1",
 *     mounts: { "/workspace": "./my-project" },
 *     workdir: "/workspace",
 *     secrets: { OPENAI_API_KEY: { value: process.env["OPENAI_API_KEY"] ?? "", hosts: ["api.openai.com"] } }
 *   },
 *   (sb) => sb.exec("codex", ["exec", "What does this project do?"])
 * )
 * console.log(answer.stdout())
 * ```
 *
 * @category presets
 * @since 0.1.0
 */
export const codingAgentsPreset = (options: CodingAgentsPresetOptions = {}): PresetConfig =>
  preset(options, {
    name: "lightbox",
    image: "oven/bun",
    resources: { cpus: 2, memory: "1G" },
    workdir: "/workspace",
    setup: [
      shell("install GitHub Copilot", "bun install -g @github/copilot"),
      shell("install Gemini", "bun install -g @google/gemini-cli"),
      shell("install Codex", "bun install -g @openai/codex"),
      shell("install Pi", "bun install -g @earendil-works/pi-coding-agent"),
      check("copilot", "gemini", "codex", "pi")
    ]
  })

/**
 * Node.js with pnpm and git, for a project's tests. Snapshot `node-ci`, working
 * directory `/work`.
 *
 * @category presets
 * @since 0.1.0
 */
export const nodeCiPreset = (options: PresetOptions = {}): PresetConfig =>
  preset(options, {
    name: "node-ci",
    image: "node:22",
    resources: { cpus: 2, memory: "2G" },
    workdir: "/work",
    env: { CI: "true" },
    setup: [apt("git"), shell("install pnpm", "npm install --global pnpm@9"), check("node", "npm", "pnpm", "git")]
  })

/**
 * Python with NumPy, pandas and Matplotlib. Snapshot `py-data`, working directory
 * `/work`.
 *
 * @category presets
 * @since 0.1.0
 */
export const pythonDataPreset = (options: PresetOptions = {}): PresetConfig =>
  preset(options, {
    name: "py-data",
    image: "python:3.12",
    resources: { cpus: 2, memory: "1G" },
    workdir: "/work",
    setup: [
      shell("install NumPy, pandas, Matplotlib", "python3 -m pip install --no-cache-dir numpy pandas matplotlib"),
      shell("check them", 'python3 -c "import numpy, pandas, matplotlib"')
    ]
  })

/**
 * Chromium with fonts, as the command `chromium`. Snapshot `browser`, working
 * directory `/work`.
 *
 * @category presets
 * @since 0.1.0
 */
export const browserPreset = (options: PresetOptions = {}): PresetConfig =>
  preset(options, {
    name: "browser",
    image: "debian:12",
    resources: { cpus: 2, memory: "1G" },
    workdir: "/work",
    setup: [apt("ca-certificates", "chromium", "fonts-liberation", "fonts-noto-color-emoji"), check("chromium")]
  })

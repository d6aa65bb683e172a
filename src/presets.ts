/**
 * Snapshots that many want, as configurations to start from.
 *
 * Each function returns a new, plain object for `buildSnapshot` of
 * `effect-lightbox/promise`, with a `setup` that can be extended. Effect programs
 * use the module `Preset`.
 *
 * **Example** (A preset with a tool of one's own)
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
 * What can be said about every preset.
 *
 * **Example** (Another name and more memory)
 *
 * ```ts
 * import type { PresetOptions } from "effect-lightbox/presets"
 *
 * export const options: PresetOptions = { name: "agents-xl", resources: { cpus: 4, memory: "4G" } }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface PresetOptions {
  /** The name of the snapshot. */
  name?: string | undefined
  /** The image that it starts from. */
  image?: string | undefined
  /** Of the sandbox that it is built in. */
  resources?: SnapshotResources | undefined
  /** Kept with the snapshot. Default: none. */
  labels?: Record<string, string> | undefined
}

const preset = (options: PresetOptions, defaults: PresetConfig): PresetConfig => ({
  ...defaults,
  name: options.name ?? defaults.name,
  image: options.image ?? defaults.image,
  resources: options.resources ?? defaults.resources,
  labels: options.labels
})

const shell = (description: string, script: string): SetupStep => ({ kind: "shell", script, description })

const apt = (...packages: ReadonlyArray<string>): SetupStep =>
  shell(`install ${packages.join(", ")}`, aptInstall(packages))

/** The last step of a preset: what is missing fails the build, and not the first use. */
const check = (...commands: ReadonlyArray<string>): SetupStep =>
  shell(`check ${commands.join(", ")}`, commands.map((command) => `command -v ${command}`).join(" && "))

/**
 * Options of {@link codingAgentsPreset}.
 *
 * **Example** (Labels for finding it again)
 *
 * ```ts
 * import type { CodingAgentsPresetOptions } from "effect-lightbox/presets"
 *
 * export const options: CodingAgentsPresetOptions = { labels: { tier: "premium" } }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface CodingAgentsPresetOptions extends PresetOptions {}

/**
 * Four coding agents, as the commands `copilot`, `gemini`, `codex` and `pi`.
 *
 * **Details**
 *
 * Snapshot `lightbox`, from the image `oven/bun`, built with two processors and
 * 1 GiB. No keys are baked in: give them at launch, as secrets for the hosts that
 * they are for. The agent then has a placeholder, and the host's network puts the
 * value in where it goes out.
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
 * Node.js with pnpm and git, for tests of a project.
 *
 * **Example** (Running a project's tests)
 *
 * ```ts
 * import { nodeCiPreset } from "effect-lightbox/presets"
 * import { buildSnapshot, runInSandbox } from "effect-lightbox/promise"
 *
 * await buildSnapshot(nodeCiPreset())
 *
 * const out = await runInSandbox(
 *   { snapshot: "node-ci", name: "ci-1", mounts: { "/work": "./my-project" }, workdir: "/work" },
 *   (sb) => sb.shell("pnpm install && pnpm test")
 * )
 * process.exitCode = out.code
 * ```
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
 * Python with NumPy, pandas and Matplotlib, for work with data.
 *
 * **Example** (Running what a model wrote)
 *
 * ```ts
 * import { pythonDataPreset } from "effect-lightbox/presets"
 * import { buildSnapshot, runInSandbox } from "effect-lightbox/promise"
 *
 * await buildSnapshot(pythonDataPreset())
 *
 * const out = await runInSandbox({ snapshot: "py-data", name: "analysis-1", network: "none" }, (sb) =>
 *   sb.exec("python3", ["-c", "import pandas; print(pandas.__version__)"])
 * )
 * console.log(out.stdout())
 * ```
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
 * Chromium with fonts, as the command `chromium`, for pages that are not to be
 * opened on this machine.
 *
 * **Example** (A picture of a page)
 *
 * ```ts
 * import { browserPreset } from "effect-lightbox/presets"
 * import { buildSnapshot, runInSandbox } from "effect-lightbox/promise"
 *
 * await buildSnapshot(browserPreset())
 *
 * await runInSandbox({ snapshot: "browser", name: "page-1", resources: { memory: "1G" } }, async (sb) => {
 *   await sb.shell("chromium --headless --no-sandbox --screenshot=/work/page.png https://example.com")
 *   await sb.fs().copyToHost("/work/page.png", "page.png")
 * })
 * ```
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

import * as Effect from "effect/Effect"
import { assert, describe, it } from "@effect/vitest"
import { define } from "../../src/internal/promise/definition.ts"
import * as Presets from "../../src/presets.ts"
import { buildSnapshot, runInSandbox, shell, snapshotExists } from "../../src/promise.ts"
import { rejection, twin } from "./support.ts"

/** Packages known to `bun install -g`, and the commands they install. */
const agents = {
  "@github/copilot": "copilot",
  "@google/gemini-cli": "gemini",
  "@openai/codex": "codex",
  "@earendil-works/pi-coding-agent": "pi"
}

const programs = Object.values(agents)

/** Creates a program that prints its name. */
const install = (name: string): string =>
  `printf '#!/bin/sh\\necho ${name}\\n' > /usr/local/bin/${name} && chmod 755 /usr/local/bin/${name}`

const bun = ["#!/bin/sh", 'case "$1 $2 $3" in']
  .concat(Object.entries(agents).map(([name, program]) => `"install -g ${name}") ${install(program)} ;;`))
  .concat("*) echo unknown >&2; exit 1 ;;", "esac")

const memory = twin({
  images: { "oven/bun": { files: { "/usr/local/bin/bun": { content: bun.join("\n"), mode: 0o755 } } } }
})

describe("codingAgentsPreset", () => {
  it("matches lightbox's documentation", async () => {
    const config = Presets.codingAgentsPreset()
    assert.deepInclude(config, { name: "lightbox", image: "oven/bun", resources: { cpus: 2, memory: "1G" } })
    assert.isUndefined(config.labels)
    assert.isNotEmpty(config.setup)
    for (const step of config.setup) {
      assert.isNotEmpty(typeof step !== "string" && "description" in step ? step.description : "")
    }

    await buildSnapshot(config)
    const versions = await runInSandbox({ snapshot: "lightbox", name: "agent-1", workdir: "/workspace" }, (sb) =>
      sb.shell(programs.join(" && "))
    )
    assert.strictEqual(versions.stdout(), programs.map((name) => `${name}\n`).join(""))
  })

  it("accepts another name, image, size and labels", () => {
    const options = {
      name: "agents-xl",
      image: "oven/bun:1",
      resources: { cpus: 4, memory: "4G" },
      labels: { tier: "premium" }
    } as const
    assert.deepInclude(Presets.codingAgentsPreset(options), options)
  })

  it("returns a new object each time, which can be extended", async () => {
    const config = Presets.codingAgentsPreset({ name: "lightbox-plus" })
    config.setup.push(shell("touch /usr/bin/rg", "ripgrep"))
    assert.strictEqual(config.setup.length, Presets.codingAgentsPreset().setup.length + 1)
    await buildSnapshot(config)
    assert.isTrue(await runInSandbox({ snapshot: "lightbox-plus", name: "s" }, (sb) => sb.fs().exists("/usr/bin/rg")))
  })

  it("fails to build if an agent is missing at the end", async () => {
    await memory.setImage("oven/bun", {
      files: { "/usr/local/bin/bun": { content: "#!/bin/sh\nexit 0\n", mode: 0o755 } }
    })
    const error = await rejection(buildSnapshot(Presets.codingAgentsPreset()))
    assert.include(error.step?.description, "check copilot")
    assert.isFalse(await snapshotExists("lightbox"))
  })
})

describe("presets", () => {
  it.each([Presets.codingAgentsPreset, Presets.nodeCiPreset, Presets.pythonDataPreset, Presets.browserPreset])(
    "are also definitions for Effect programs: %o",
    (preset) => {
      const config = preset({ labels: { a: "b" } })
      const { labels, name, steps } = define(config, () => () => Effect.void)
      assert.deepStrictEqual([name, labels], [config.name, config.labels])
      assert.isAtLeast(steps.length, config.setup.length)
    }
  )
})

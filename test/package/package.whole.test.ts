import { assert, describe, it } from "@effect/vitest"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { publint } from "publint"
import { formatMessage } from "publint/utils"
import { afterAll, beforeAll } from "vitest"
import * as Sources from "./sources.ts"

const patient = { timeout: 120_000 }

let folder = ""
let tarball = ""

interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program in the project of a user. */
const run = (program: string, args: ReadonlyArray<string>, cwd = folder): Ended =>
  ChildProcess.spawnSync(program, args, { cwd, encoding: "utf8" })

const node = (code: string, ...flags: ReadonlyArray<string>): Ended =>
  run(process.execPath, [...flags, "--input-type=module", "--eval", code])

/** Fails with the output unless the program succeeded. */
const assertSucceeded = ({ status, stderr, stdout }: Ended): void => assert.strictEqual(status, 0, stdout + stderr)

const manifest = JSON.stringify({ name: "consumer", private: true, type: "module" })

beforeAll(() => {
  folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "consumer"))
  // Packs the existing build, which others may be reading.
  const packed = run("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], Sources.root)
  assertSucceeded(packed)
  tarball = Path.join(folder, JSON.parse(packed.stdout)[0].filename)
  Fs.writeFileSync(Path.join(folder, "package.json"), manifest)
  assertSucceeded(
    run("npm", [
      "install",
      "--no-audit",
      "--no-fund",
      "--prefer-offline",
      tarball,
      "@types/node@24",
      "typescript@7.0.2",
      "typescript-5.9@npm:typescript@5.9.3"
    ])
  )
}, 120_000)

afterAll(() => Fs.rmSync(folder, { recursive: true, force: true }), 120_000)

describe("package", () => {
  it("satisfies publint", async () => {
    const bytes = new Uint8Array(Fs.readFileSync(tarball))
    const { messages, pkg } = await publint({ pack: { tarball: bytes.buffer } })
    assert.deepStrictEqual(
      messages.map((message) => formatMessage(message, pkg)),
      []
    )
  })

  it("has types that resolve in every module resolution", patient, () => {
    const attw = Path.join(Sources.root, "node_modules/@arethetypeswrong/cli/dist/index.js")
    const entryPoints = [".", ...Sources.entryPoints]
    assertSucceeded(run(process.execPath, [attw, tarball, "--profile", "esm-only", "--entrypoints", ...entryPoints]))
  })

  it("contains the build, its sources, and nothing else", () => {
    const installed = Path.join(folder, "node_modules/effect-lightbox")
    const files = Fs.readdirSync(installed, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => Path.relative(installed, Path.join(entry.parentPath, entry.name)))
    const others = files.filter(
      (path) => !/^(dist\/.*\.(js|d\.ts)(\.map)?|src\/.*\.tsx?|src\/internal\/page\/client\/page\.css)$/.test(path)
    )
    assert.includeMembers(others, ["LICENSE", "package.json"])
    assert.deepStrictEqual(
      others.filter((path) => !/^(LICENSE|package\.json|\w+\.md|src\/AGENTS\.md|examples\/.*)$/.test(path)),
      []
    )
    for (const path of files.filter((path) => path.endsWith(".map"))) {
      const { sources } = JSON.parse(Fs.readFileSync(Path.join(installed, path), "utf8"))
      for (const source of sources)
        assert.isTrue(Fs.existsSync(Path.join(installed, Path.dirname(path), source)), source)
    }
  })

  it("can be imported, module by module", () => {
    const names = ["effect-lightbox", ...Sources.entryPoints.map((name) => `effect-lightbox/${name}`)]
    assertSucceeded(node(names.map((name) => `await import("${name}")`).join("\n")))
  })

  it.each([
    "effect-lightbox/internal/ownership/lock",
    "effect-lightbox/index",
    "effect-lightbox/internal/promise/sandbox"
  ])("does not export %s", (name) => {
    const { status, stderr } = node(`await import("${name}")`)
    assert.strictEqual(status, 1)
    assert.include(stderr, "ERR_PACKAGE_PATH_NOT_EXPORTED")
  })

  it("can be required from CommonJS", () => {
    const file = Path.join(folder, "program.cjs")
    Fs.writeFileSync(
      file,
      `const { defineSnapshot } = require("effect-lightbox/promise")
       const { codingAgentsPreset } = require("effect-lightbox/presets")
       console.log(defineSnapshot(codingAgentsPreset()).name)`
    )
    const ended = run(process.execPath, [file])
    assertSucceeded(ended)
    assert.deepStrictEqual([ended.stdout, ended.stderr], ["lightbox\n", ""])
  })

  it("provides the command line", patient, () => {
    const lightbox = (...args: ReadonlyArray<string>): Ended =>
      run("npx", ["--no-install", "effect-lightbox", ...args, "--home", Path.join(folder, "home")])
    const version = lightbox("--version")
    assertSucceeded(version)
    assert.match(version.stdout, /^lightbox v\d/)
    assertSucceeded(lightbox("init", "first.ts"))
    const plan = lightbox("plan", "first.ts")
    assertSucceeded(plan)
    assert.match(plan.stdout, /^hello from alpine\n[^]*\n3 of 3 steps to run\.\n.+\n$/)
    const wrong = lightbox("plan", "second.ts", "--json")
    assert.deepStrictEqual([wrong.status, wrong.stdout], [2, ""])
    // npm may print something before it.
    assert.include(JSON.parse(wrong.stderr.trim().split("\n").at(-1) ?? "").message, "Invalid FILE")
  })

  it.each(["mjs", "cjs"])("works under Bun, as .%s", (extension) => {
    const file = Path.join(folder, `bun.${extension}`)
    const load = extension === "mjs" ? "await import" : "require"
    Fs.writeFileSync(
      file,
      `const { defineSnapshot } = ${load}("effect-lightbox/promise")
       const { codingAgentsPreset } = ${load}("effect-lightbox/presets")
       const { Preset } = ${load}("effect-lightbox")
       if (Preset.codingAgents().name === "lightbox") console.log(defineSnapshot(codingAgentsPreset()).name)`
    )
    const ended = run(Path.join(Sources.root, "node_modules/.bin/bun"), [file])
    assertSucceeded(ended)
    assert.deepStrictEqual([ended.stdout, ended.stderr], ["lightbox\n", ""])
  })

  it("works in an executable compiled by Bun, or says what it needs", patient, () => {
    Fs.writeFileSync(
      Path.join(folder, "compiled.mjs"),
      `import { configure, listSnapshots } from "effect-lightbox/promise"
       configure({ home: ${JSON.stringify(Path.join(folder, "compiled-home"))} })
       listSnapshots().then((all) => console.log(all.length), (error) => console.log(error.message))`
    )
    const bun = Path.join(Sources.root, "node_modules/.bin/bun")
    const printed = (name: string, ...flags: ReadonlyArray<string>) => {
      assertSucceeded(run(bun, ["build", "compiled.mjs", "--compile", ...flags, "--outfile", name]))
      // It must not depend on the working directory.
      const { stdout } = ChildProcess.spawnSync(Path.join(folder, name), { cwd: "/", encoding: "utf8" })
      return stdout
    }
    const external = ["--external", "microsandbox"]
    assert.strictEqual(printed("works", ...external, "--compile-autoload-package-json"), "0\n")
    for (const flags of [external, []]) {
      assert.match(
        printed("fails", ...flags),
        /runtime is missing.*\n[^]*To fix it: compile with --external microsandbox --compile-autoload-package-json/
      )
    }
  })

  it("loads with the Promise adapter only what it needs", () => {
    const hook = Path.join(folder, "loaded.mjs")
    Fs.writeFileSync(
      hook,
      `import { registerHooks } from "node:module"
       registerHooks({ load: (url, context, next) => (console.log(url), next(url, context)) })`
    )
    const loadedBy = (name: string) => {
      const ended = node(`import "effect-lightbox/${name}"`, "--import", hook)
      assertSucceeded(ended)
      return ended.stdout.split("\n").flatMap((url) => /\/node_modules\/(.*)/.exec(url)?.[1] ?? [])
    }
    assert.deepStrictEqual(loadedBy("presets"), [
      "effect-lightbox/dist/presets.js",
      "effect-lightbox/dist/internal/definition/scripts.js"
    ])

    const loaded = loadedBy("promise")
    assert.deepStrictEqual(
      [...new Set(loaded.flatMap((path) => path.split("/")[0] ?? []))].toSorted(),
      ["cborg", "effect", "effect-lightbox", "ignore", "modern-tar"],
      "the SDK is loaded when it is used first"
    )
    assert.deepStrictEqual(
      loaded.flatMap((path) => /^effect-lightbox\/dist\/(\w+)\.js/.exec(path)?.[1] ?? []).toSorted(),
      [
        "Admission",
        "BuildEvent",
        "BuildRecord",
        "Cleanup",
        "Image",
        "Interpreter",
        "LightboxError",
        "Microsandbox",
        "MicrosandboxLocal",
        "Mount",
        "Network",
        "Ownership",
        "Plan",
        "Probe",
        "Reaper",
        "Sandbox",
        "SandboxConfig",
        "SandboxPool",
        "SandboxProxy",
        "SandboxRecord",
        "Snapshot",
        "Volume",
        "promise"
      ]
    )
    assert.deepStrictEqual(
      loaded.filter((path) => path.includes("/internal/driver/memory/")),
      []
    )
    const groups =
      /^effect\/dist\/(index\.js|(ai|cli|cluster|http-api|observability|persistence|process|reactivity|rpc|socket|sql|testing|workflow)\/)/
    assert.deepStrictEqual(
      loaded.filter((path) => groups.test(path)),
      []
    )
  })

  it("names the user's line in an error: plain, with source maps and in a bundle", patient, () => {
    const program = [
      `import { Snapshot } from "effect-lightbox"`,
      `import { MicrosandboxMemory } from "effect-lightbox/testing"`,
      `import * as Effect from "effect/Effect"`,
      `const definition = Snapshot.make("fails", "debian:12").pipe(`,
      `  Snapshot.shell("exit 3")`,
      `)`,
      `const error = Effect.flip(Effect.provide(Snapshot.build(definition), MicrosandboxMemory.layer()))`,
      `Effect.runPromise(error).then((error) => console.log(error.step.declaredAt))`
    ]
    Fs.writeFileSync(Path.join(folder, "fails.js"), program.join("\n"))
    for (const flags of [[], ["--enable-source-maps"]]) {
      assert.strictEqual(run(process.execPath, [...flags, "fails.js"]).stdout, "fails.js:5\n")
    }
    const rolldown = Path.join(Sources.root, "node_modules/.bin/rolldown")
    for (const [format, file] of [
      ["esm", "bundle.mjs"],
      ["cjs", "bundle.cjs"]
    ] as const) {
      assertSucceeded(
        run(rolldown, [
          "fails.js",
          "--format",
          format,
          "--platform",
          "node",
          "--external",
          "microsandbox",
          "--file",
          file
        ])
      )
      const { stderr, stdout } = run(process.execPath, [file])
      assert.match(stdout, new RegExp(`^${file.replace(".", "\\.")}:\\d+\n$`), stderr)
    }
  })

  it.each(["promise", "presets", "ai-sdk", "claude-agent", "deepagents", "computesdk"])(
    "exposes no Effect types in the declarations of %s",
    (name) => {
      const foreign = Sources.foreignModules(`dist/${name}.d.ts`)
      assert.deepStrictEqual(
        [...foreign.keys()].filter((specifier) => specifier !== "microsandbox" && specifier !== "node:stream"),
        []
      )
    }
  )

  it.each(["typescript", "typescript-5.9"])("compiles in a program without Effect with %s", patient, (compiler) => {
    const project = Fs.mkdtempSync(Path.join(folder, "project"))
    Fs.writeFileSync(Path.join(project, "package.json"), manifest)
    Fs.copyFileSync(Path.join(Sources.root, "test/package/consumer/program.ts"), Path.join(project, "program.ts"))
    Fs.writeFileSync(
      Path.join(project, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "ES2022",
          lib: ["ES2022"],
          module: "NodeNext",
          strict: true,
          noEmit: true,
          skipLibCheck: false,
          types: ["node"]
        },
        files: ["program.ts"]
      })
    )
    const tsc = Path.join(folder, "node_modules", compiler, "bin/tsc")
    assertSucceeded(run(process.execPath, [tsc, "-p", ".", "--pretty", "false"], project))
    // Effect is installed, but not part of the program.
    const { stdout } = run(process.execPath, [tsc, "-p", ".", "--listFilesOnly"], project)
    assert.include(stdout, "effect-lightbox/dist/promise.d.ts")
    assert.notInclude(stdout, "node_modules/effect/")
  })
})

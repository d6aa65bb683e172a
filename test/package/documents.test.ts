import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as LightboxError from "../../src/LightboxError.ts"
import * as Sources from "./sources.ts"

const hasSince = (comment: string): boolean => /^ \* @since \d+\.\d+\.\d+$/m.test(comment)

const isDocumented = (comment: string): boolean =>
  /^ \* [^@\s]/m.test(comment) && hasSince(comment) && /^ \* @category [a-z ]+$/m.test(comment)

describe("documents", () => {
  it.effect.each(Sources.entryPoints)("describe every export of %s, with its version and category", (name) =>
    Effect.sync(() => {
      const path = `src/${name}.ts`
      const found = Sources.exportsOf(path)
      assert.isAbove(found.length, 0)
      assert.deepStrictEqual(
        found.filter(({ comment }) => !isDocumented(comment)).map(({ line, name, path }) => `${path}:${line} ${name}`),
        []
      )
      assert.isTrue(hasSince(Sources.moduleComment(path)), `the comment at the head of ${path}`)
    })
  )

  it.each(Sources.entryPoints)("describe every option of %s", (name) => {
    const options = Sources.exportsOf(`src/${name}.ts`).filter(({ comment }) =>
      /^ \* @category options$/m.test(comment)
    )
    assert.deepStrictEqual(
      options.flatMap(({ name, path }) =>
        Sources.fieldsOf(path, name)
          .filter(({ comment }) => comment === "")
          .map((field) => `${path} ${name}.${field.name}`)
      ),
      []
    )
  })

  it("name every reason of an error in the guide to errors", () => {
    const guide = Fs.readFileSync(Path.join(Sources.root, "examples/guides/errors.md"), "utf8")
    const table = guide.slice(guide.indexOf("## All reasons"))
    const named = [...table.matchAll(/^\| `(\w+)` +\|/gm)].map(([, name = ""]) => name)
    const reasons = LightboxError.Reason.members.map((reason) => reason.fields._tag.schema.literal)
    assert.deepStrictEqual(named.toSorted(), reasons.toSorted())
  })

  it.each(Sources.documents)("%s has no broken links", (document) => {
    assert.deepStrictEqual(
      Sources.linksOf(document).filter((path) => !Fs.existsSync(Path.join(Sources.root, path))),
      []
    )
  })

  it("contain only examples that compile", { timeout: 60_000 }, () => {
    // Inside the package, where its name leads to what was built of it.
    const folder = Path.join(Sources.root, ".cache", "examples")
    const examples = Sources.examples()
    assert.isAbove(examples.length, 20)
    Sources.writeExamples(folder, examples)
    Fs.writeFileSync(
      Path.join(folder, "tsconfig.json"),
      JSON.stringify({
        extends: "../../tsconfig.json",
        compilerOptions: { noUnusedLocals: false, noUnusedParameters: false, plugins: [] },
        include: ["**/*.ts"]
      })
    )
    const { status, stdout } = ChildProcess.spawnSync(
      process.execPath,
      [Path.join(Sources.root, "node_modules/typescript/bin/tsc"), "-p", folder, "--pretty", "false"],
      { encoding: "utf8", cwd: folder }
    )
    assert.strictEqual(stdout, "")
    assert.strictEqual(status, 0)
    Fs.rmSync(folder, { recursive: true })
  })
})

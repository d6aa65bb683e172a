/**
 * Judge of `effect-lightbox/deepagents`: deepagents' own `BaseSandbox`, whose methods are shell scripts. It runs them in a
 * folder of this machine, because the twin has no `find`, `grep` and `awk`. The same calls must give the same answers.
 */
import { BaseSandbox, isSandboxBackend } from "deepagents"
import * as Assert from "node:assert/strict"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { sandboxBackend } from "../../../src/deepagents.ts"
import * as Lightbox from "../../../src/promise.ts"
import { useTwin } from "../../../src/testing.ts"
import { judge, versionOf } from "../cases.ts"

/** What `BaseSandbox` makes of the three operations that it does not have itself. */
class Reference extends BaseSandbox {
  readonly id = "reference"
  execute(command: string) {
    const { status, stdout } = ChildProcess.spawnSync("sh", ["-c", `exec 2>&1; ${command}`], { encoding: "utf8" })
    return { output: stdout, exitCode: status, truncated: false }
  }
  uploadFiles(files: Array<[string, Uint8Array]>) {
    return files.map(([path, content]) => {
      try {
        Fs.mkdirSync(Path.dirname(path), { recursive: true })
        Fs.writeFileSync(path, content)
        return { path, error: null }
      } catch {
        return { path, error: "is_directory" as const }
      }
    })
  }
  downloadFiles(paths: Array<string>) {
    return paths.map((path) =>
      Fs.existsSync(path)
        ? { path, content: Fs.readFileSync(path), error: null }
        : { path, content: null, error: "file_not_found" as const }
    )
  }
}

type Backend = Pick<BaseSandbox, "delete" | "edit" | "glob" | "grep" | "ls" | "read" | "readRaw" | "write">

const files: { readonly [path: string]: string } = {
  "a.txt": "one\ntwo\nthree two\n",
  "b.py": "def two():\n  return 'two'\n",
  "no-end.txt": "first\nlast",
  "empty.txt": "",
  "sub/c.txt": "two in sub\n",
  "sub/deep/d.md": "nothing\n",
  "odd 'name' \"x\".txt": "two: odd\n",
  "grüße.txt": "zwei two\n",
  "dots.x.txt": "a.b*c[d]$\n"
}

/** Runs the calls in a folder of its own, with the files above. */
const calls: { readonly [title: string]: (backend: Backend, folder: string) => Promise<unknown> } = {
  "ls a folder": (b, f) => b.ls(f),
  "ls a folder below": (b, f) => b.ls(`${f}/sub`),
  "ls what does not exist": (b, f) => b.ls(`${f}/absent`),
  "read a file": (b, f) => b.read(`${f}/a.txt`),
  "read from an offset": (b, f) => b.read(`${f}/a.txt`, 1),
  "read a window": (b, f) => b.read(`${f}/a.txt`, 1, 1),
  "read past the end": (b, f) => b.read(`${f}/a.txt`, 99),
  "read no lines": async (b, f) => (await b.read(`${f}/a.txt`, 0, 0)).content,
  "read with odd numbers": (b, f) => b.read(`${f}/a.txt`, -1.5, 1.7),
  "read what does not exist": (b, f) => b.read(`${f}/absent`),
  "read an empty file": async (b, f) => (await b.read(`${f}/empty.txt`)).content,
  "read without a last line end": (b, f) => b.read(`${f}/no-end.txt`),
  "read a name with quotes": (b, f) => b.read(`${f}/odd 'name' "x".txt`),
  "read a picture": async (b, f) => {
    await b.write(`${f}/p.png`, Buffer.from([1, 2, 0, 255]).toString("base64"))
    const { content, mimeType } = await b.read(`${f}/p.png`)
    return [mimeType, content instanceof Uint8Array && [...content]]
  },
  "readRaw a file": async (b, f) => {
    const { data } = await b.readRaw(`${f}/a.txt`)
    return data?.content
  },
  "readRaw what does not exist": (b, f) => b.readRaw(`${f}/absent`),
  "grep a folder": (b, f) => b.grep("two", f),
  "grep a file": (b, f) => b.grep("two", `${f}/a.txt`),
  "grep by name": (b, f) => b.grep("two", f, "*.py"),
  "grep by name below": (b, f) => b.grep("two", f, "c.*"),
  "grep at most": async (b, f) => {
    const { matches, truncated } = await b.grep("two", f, null, 2)
    return [matches?.length, truncated]
  },
  "grep is literal": (b, f) => b.grep("a.b*c[d]$", f),
  "grep is not a pattern": (b, f) => b.grep("t.o", f),
  "grep finds nothing": (b, f) => b.grep("absent", f),
  "grep what does not exist": (b, f) => b.grep("two", `${f}/absent`),
  "grep a text that looks like an option": (b, f) => b.grep("-r", f),
  "glob by end": (b, f) => b.glob("*.txt", f),
  "glob everywhere": (b, f) => b.glob("**/*.txt", f),
  "glob everything": (b, f) => b.glob("**", f),
  "glob a folder": (b, f) => b.glob("sub/*", f),
  "glob one character": (b, f) => b.glob("?.txt", f),
  "glob a set": (b, f) => b.glob("[ab].*", f),
  "glob finds nothing": (b, f) => b.glob("*.rs", f),
  "glob what does not exist": (b, f) => b.glob("*", `${f}/absent`),
  "write and read": async (b, f) => [await b.write(`${f}/new.txt`, "new\n"), await b.read(`${f}/new.txt`)],
  "write creates folders": async (b, f) => [await b.write(`${f}/x/y/z.txt`, "z"), await b.read(`${f}/x/y/z.txt`)],
  "write replaces": async (b, f) => [await b.write(`${f}/a.txt`, "short"), await b.read(`${f}/a.txt`)],
  "write nothing": async (b, f) => [await b.write(`${f}/e`, ""), (await b.read(`${f}/e`)).content],
  "write over a folder": async (b, f) => typeof (await b.write(`${f}/sub`, "x")).error,
  "edit once": async (b, f) => [await b.edit(`${f}/a.txt`, "one", "1"), await b.read(`${f}/a.txt`)],
  "edit several": async (b, f) => [await b.edit(`${f}/a.txt`, "two", "2"), await b.read(`${f}/a.txt`)],
  "edit all": async (b, f) => [await b.edit(`${f}/a.txt`, "two", "2", true), await b.read(`${f}/a.txt`)],
  "edit all with the same length": (b, f) => b.edit(`${f}/a.txt`, "two", "TWO", true),
  "edit with what text replacement treats specially": async (b, f) => [
    await b.edit(`${f}/a.txt`, "one", "$& $1 $$"),
    await b.read(`${f}/a.txt`)
  ],
  "edit what is not there": (b, f) => b.edit(`${f}/a.txt`, "absent", "x"),
  "edit several lines": async (b, f) => [await b.edit(`${f}/a.txt`, "one\ntwo", "1\n2"), await b.read(`${f}/a.txt`)],
  "edit to the same": (b, f) => b.edit(`${f}/a.txt`, "one", "one"),
  "edit away": async (b, f) => [await b.edit(`${f}/a.txt`, "one\n", ""), await b.read(`${f}/a.txt`)],
  "edit an empty file": async (b, f) => [await b.edit(`${f}/empty.txt`, "", "x"), await b.read(`${f}/empty.txt`)],
  "edit nothing in an empty file": (b, f) => b.edit(`${f}/empty.txt`, "", ""),
  "edit nothing in a file": (b, f) => b.edit(`${f}/a.txt`, "", "x"),
  "edit what does not exist": (b, f) => b.edit(`${f}/absent`, "a", "b"),
  "delete a file": async (b, f) => [await b.delete(`${f}/a.txt`), await b.read(`${f}/a.txt`)],
  "delete a folder": async (b, f) => [await b.delete(`${f}/sub`), await b.ls(`${f}/sub`)],
  "delete what does not exist": (b, f) => b.delete(`${f}/absent`)
}

/** Orders and times are no part of an answer. */
const comparable = (answer: unknown): unknown => {
  if (Array.isArray(answer)) {
    const parts = answer.map(comparable)
    const isList =
      parts.length > 0 && parts.every((part) => typeof part === "object" && part !== null && "path" in part)
    return isList ? parts.map((part) => JSON.stringify(part)).toSorted() : parts
  }
  if (typeof answer !== "object" || answer === null || answer instanceof Uint8Array) return answer
  return Object.fromEntries(
    Object.entries(answer).flatMap(([name, value]): Array<[string, unknown]> => {
      if (name === "modified_at" || value === undefined || (name === "truncated" && value === false)) return []
      // The size of a folder is not defined.
      return name === "size" && Reflect.get(answer, "is_dir") === true ? [] : [[name, comparable(value)]]
    })
  )
}

await using _twin = await useTwin()
await using sandbox = await Lightbox.launchSandbox({ image: "busybox", network: "none" })
const backend = await sandboxBackend(sandbox)
const reference = new Reference()
const temporary = Fs.mkdtempSync(Path.join(Os.tmpdir(), "judged"))

let count = 0

const answerOf = async (
  b: Backend & Pick<BaseSandbox, "uploadFiles">,
  call: (backend: Backend, folder: string) => Promise<unknown>
): Promise<unknown> => {
  const folder = `${temporary}/${count++}`
  const encoder = new TextEncoder()
  await b.uploadFiles(
    Object.entries(files).map(([path, content]): [string, Uint8Array] => [`${folder}/${path}`, encoder.encode(content)])
  )
  return JSON.parse(JSON.stringify(comparable(await call(b, folder)) ?? null).replaceAll(folder, "FOLDER"))
}

await judge("effect-lightbox/deepagents", "deepagents", versionOf(import.meta.dirname, "deepagents"), {
  "is taken for a sandbox": async () => {
    Assert.ok(isSandboxBackend(backend))
  },
  ...Object.fromEntries(
    Object.entries(calls).map(([title, call]) => [
      title,
      async () => Assert.deepEqual(await answerOf(backend, call), await answerOf(reference, call))
    ])
  )
})

Fs.rmSync(temporary, { recursive: true })

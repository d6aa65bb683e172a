import { assert, describe, it } from "@effect/vitest"
import { compile, ignorerOf, itemsOf } from "../../../src/internal/dockerfile/ignoreFile.ts"
import { parse } from "../../../src/internal/dockerfile/parse.ts"
import { Problem } from "../../../src/internal/dockerfile/problem.ts"
import { expand, expandText, wordsOf } from "../../../src/internal/dockerfile/words.ts"

const at = { line: 1, column: 1 }
const lexer = { escape: "\\" } as const

const parsed = (...lines: ReadonlyArray<string>) =>
  parse(lines.join("\n")).instructions.map(({ at, flags, heredocs, keyword, rest }) => ({
    line: at.line,
    keyword,
    rest,
    ...(flags.length === 0 ? {} : { flags: flags.map(({ name, value }) => `${name}=${value}`) }),
    ...(heredocs.length === 0 ? {} : { heredocs: heredocs.map(({ content, name }) => [name, content]) })
  }))

const problemOf = (run: () => unknown): string => {
  try {
    run()
  } catch (cause) {
    if (cause instanceof Problem) return `${cause.at.line}:${cause.at.column} ${cause.message}`
    throw cause
  }
  return assert.fail("it was accepted")
}

describe("parse", () => {
  it("joins continued lines, without comments and blank lines between them", () => {
    assert.deepStrictEqual(parsed("# about", "FROM a", "", "run one \\  ", "  # two", "", "  && three", "CMD x"), [
      { line: 2, keyword: "FROM", rest: "a" },
      { line: 4, keyword: "RUN", rest: "one   && three" },
      { line: 8, keyword: "CMD", rest: "x" }
    ])
  })

  it("does not continue a line after an escaped backslash", () => {
    assert.deepStrictEqual(parsed("RUN echo \\\\", "RUN b"), [
      { line: 1, keyword: "RUN", rest: "echo \\\\" },
      { line: 2, keyword: "RUN", rest: "b" }
    ])
  })

  it("takes another escape character", () => {
    assert.deepStrictEqual(parsed("# syntax=docker/dockerfile:1", "# escape=`", "RUN a `", "b\\", "RUN c"), [
      { line: 3, keyword: "RUN", rest: "a b\\" },
      { line: 5, keyword: "RUN", rest: "c" }
    ])
  })

  it("reads here-documents of RUN, COPY and ADD", () => {
    assert.deepStrictEqual(
      parsed(
        "RUN <<EOF cat > /a && cat 3<<-'B C' <<D\\",
        " > /b",
        "FROM x",
        "EOF",
        "d",
        "D",
        "COPY --chown=1 <<-E /e",
        "\t\ttext",
        "\tE",
        'RUN echo "<<F" $((1<<2))',
        "CMD <<G"
      ),
      [
        {
          line: 1,
          keyword: "RUN",
          rest: "<<EOF cat > /a && cat 3<<-'B C' <<D > /b",
          heredocs: [
            ["EOF", "FROM x\n"],
            ["D", "d\n"]
          ]
        },
        { line: 7, keyword: "COPY", rest: "<<-E /e", flags: ["chown=1"], heredocs: [["E", "text\n"]] },
        { line: 10, keyword: "RUN", rest: 'echo "<<F" $((1<<2))' },
        { line: 11, keyword: "CMD", rest: "<<G" }
      ]
    )
  })

  it("reads flags up to the first other word", () => {
    assert.deepStrictEqual(parsed('RUN --mount=type=cache,"target=/a b" --network=none x --y'), [
      { line: 1, keyword: "RUN", rest: "x --y", flags: ["mount=type=cache,target=/a b", "network=none"] }
    ])
  })

  it("refuses what it does not know, by line", () => {
    assert.deepStrictEqual(
      [
        ["FROM a", "  RUNS b"],
        ["FROM a", "RUN <<EOF", "b"],
        ["# syntax=example.com/other"],
        ["# escape=x"],
        ["FROM a", "RUN"]
      ].map((lines) => problemOf(() => parse(lines.join("\n")))),
      [
        "2:3 RUNS is not an instruction of a Dockerfile",
        "2:1 the here-document <<EOF has no end",
        "1:1 the frontend example.com/other is not supported, only docker/dockerfile",
        "1:1 expected a backslash or a backtick as the escape",
        "2:1 RUN needs an argument"
      ]
    )
  })
})

describe("words", () => {
  const values: { readonly [name: string]: string } = { a: "A", empty: "", path: "/x/y/z.tar.gz" }
  const expanded = (text: string) => expand(text, lexer, at, (name) => values[name])

  it("expands variables", () => {
    const cases: { readonly [text: string]: string } = {
      "$a-${a}": "A-A",
      "'$a' \"$a\" \\$a": "$a A $a",
      "${none:-d}${empty:-d}${empty-d}${none-$a}": "ddA",
      "${a:+b}${empty:+b}${empty+b}${none+b}": "bb",
      "${path#*/}": "x/y/z.tar.gz",
      "${path##*/}": "z.tar.gz",
      "${path%.*}": "/x/y/z.tar",
      "${path%%.*}": "/x/y/z",
      "${path/y/b}": "/x/b/z.tar.gz",
      "${path//\\//-}": "-x-y-z.tar.gz",
      "$1 ${1}$@$$${10:-d}": " d",
      $: "$",
      a$: "a$"
    }
    for (const [text, result] of Object.entries(cases)) assert.strictEqual(expanded(text), result, text)
  })

  it("fails for a missing variable that is required, and for wrong syntax", () => {
    assert.deepStrictEqual(
      ["${none:?set it}", "${a", "'a", '"a', "${}"].map((text) => problemOf(() => expanded(text))),
      [
        "1:1 none: set it",
        "1:1 the modifier of ${a} is not supported",
        "1:1 a ' has no end",
        '1:1 a " has no end',
        "1:1 expected the name of a variable after ${"
      ]
    )
  })

  it("leaves quotes of files as they are", () => {
    assert.strictEqual(
      expandText(`it's "$a" \\$a \\n \\\\n`, at, (name) => values[name]),
      `it's "A" $a n \\n`
    )
  })

  it("splits at blanks outside quotes", () => {
    assert.deepStrictEqual(wordsOf(`a  "b c"d 'e f' g\\ h`, lexer, at), ["a", '"b c"d', "'e f'", "g\\ h"])
  })
})

describe("ignore files", () => {
  const isIgnored = (lines: ReadonlyArray<string>, path: string) => ignorerOf(lines)(path)

  it("follow the rules of .dockerignore", () => {
    const lines = [
      "# comment",
      "",
      " *.log ",
      "/build/",
      "**/tmp",
      "docs/**/*.md",
      "!docs/README.md",
      "a?c",
      "[x-z].txt"
    ]
    const cases: { readonly [path: string]: boolean } = {
      "x.log": true,
      "sub/x.log": false,
      build: true,
      "build/deep/file": true,
      "sub/build": false,
      tmp: true,
      "a/b/tmp/c": true,
      "docs/a.md": true,
      "docs/b/c.md": true,
      "docs/README.md": false,
      abc: true,
      abbc: false,
      "y.txt": true,
      "a.txt": false,
      "# comment": false
    }
    for (const [path, expected] of Object.entries(cases)) assert.strictEqual(isIgnored(lines, path), expected, path)
  })

  it("let the last rule that matches decide", () => {
    assert.isTrue(isIgnored(["!a", "a"], "a"))
    assert.isFalse(isIgnored(["*", "!a"], "a/b"))
    assert.isTrue(isIgnored(["*", "!a", "a/b"], "a/b"))
  })

  it("match long paths with many stars", () => {
    assert.isFalse(isIgnored(["*a*a*a*a*a*a*a*b"], "a".repeat(200)))
    assert.isFalse(isIgnored(["**/**/**/**/**/**/**/**/x"], "a/".repeat(100)))
    assert.isTrue(isIgnored(["**/**/**/**/**/**/**/**/x"], `${"a/".repeat(100)}x/y`))
  })

  it("know ranges and escapes", () => {
    const matching = (pattern: string) =>
      ["a", "b", "-", "*", "]", "[z-b]"].filter((path) => isIgnored([pattern], path))
    assert.deepStrictEqual(["[a-b]", "[^a-b-]", "[]]", "\\*", "[\\*]", "[z-b]"].map(matching), [
      ["a", "b"],
      ["*", "]"],
      ["]"],
      ["*"],
      ["*"],
      ["[z-b]"]
    ])
  })

  it("bring files back from ignored folders", () => {
    const { isIgnored, keep } = compile({ paths: [""], ignore: ["*", "!a/b/c.txt"] })
    assert.isFalse(isIgnored("a", true))
    assert.isFalse(isIgnored("a/b/c.txt", false))
    assert.isTrue(isIgnored("a/d.txt", false))
    const files = ["a", "a/b", "a/b/c.txt", "e", "e/f"].map((path) => ({
      path,
      kind: path.endsWith(".txt") ? "file" : "folder"
    }))
    assert.deepStrictEqual(
      keep(files).map(({ path }) => path),
      ["a", "a/b", "a/b/c.txt"]
    )
  })

  it("select only what sources name", () => {
    const { isIgnored } = compile({ paths: ["src/*.ts", "lib"], ignore: [] })
    assert.deepStrictEqual(
      [
        ["src", true],
        ["src/a.ts", false],
        ["src/a.js", false],
        ["lib", true],
        ["lib/deep/x", false],
        ["other", true]
      ].map(([path, isFolder]) => isIgnored(String(path), isFolder === true)),
      [false, false, true, false, false, true]
    )
    assert.deepStrictEqual(itemsOf(["src/*.ts", "lib"], ["lib", "src/a.ts", "src/b.js", "src/c.ts"]), [
      { path: "src/a.ts", source: 0 },
      { path: "src/c.ts", source: 0 },
      { path: "lib", source: 1 }
    ])
  })
})

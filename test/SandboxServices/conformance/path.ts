/** What programs may expect of a `Path`. */
import * as Effect from "effect/Effect"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { type Behaviour, same } from "./Behaviour.ts"

export const behaviours: ReadonlyArray<Behaviour> = [
  same(
    "paths resolve against the working directory of commands",
    ["/a/c", true, true, "/x", "b/c"],
    Effect.gen(function* () {
      const path = yield* Path.Path
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
      const cwd = (yield* spawner.string(ChildProcess.make("pwd"))).trimEnd()
      return [
        path.resolve("/a/b", "../c"),
        path.resolve("b", "c") === path.join(cwd, "b", "c"),
        path.resolve("") === cwd,
        path.resolve("b", "/x"),
        path.relative(cwd, "b/c")
      ]
    })
  ),
  same(
    "paths are split and joined",
    ["c.tar.gz", "c.tar", "/a/b", ".gz", "a/d", "/a/b/c", true, false, "/"],
    Path.Path.useSync((path) => [
      path.basename("/a/b/c.tar.gz"),
      path.basename("/a/b/c.tar.gz", ".gz"),
      path.dirname("/a/b/c"),
      path.extname("c.tar.gz"),
      path.normalize("a/./b/../d"),
      path.format(path.parse("/a/b/c")),
      path.isAbsolute("/a"),
      path.isAbsolute("a"),
      path.sep
    ])
  ),
  same(
    "paths convert to URLs and back",
    ["file:///a/b%20c", true, "/a/b c", "BadArgument"],
    Effect.gen(function* () {
      const path = yield* Path.Path
      return [
        (yield* path.toFileUrl("/a/b c")).href,
        (yield* path.fromFileUrl(yield* path.toFileUrl("b"))) === path.resolve("b"),
        yield* path.fromFileUrl(new URL("file:///a/b%20c")),
        yield* Effect.match(path.fromFileUrl(new URL("https://example.com")), {
          onFailure: ({ _tag }) => _tag,
          onSuccess: () => "success"
        })
      ]
    })
  ),
  same(
    "resolveWithin stays below its root",
    ["Some", "None", "None"],
    Path.Path.useSync((path) => ["b/../c", "../c", "/c"].map((input) => path.resolveWithin("/a", input)._tag))
  )
]

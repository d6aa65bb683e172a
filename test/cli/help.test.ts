import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { expect } from "vitest"
import * as Support from "./support.ts"

const commands = [
  [],
  ["init"],
  ["demo"],
  ["doctor"],
  ["build"],
  ["plan"],
  ["ls"],
  ["history"],
  ["diff"],
  ["tag"],
  ["rollback"],
  ["prune"],
  ["save"],
  ["load"],
  ["push"],
  ["run"],
  ["up"],
  ["ps"],
  ["inspect"],
  ["start"],
  ["stop"],
  ["restart"],
  ["kill"],
  ["wait"],
  ["commit"],
  ["fork"],
  ["rm"],
  ["sweep"],
  ["exec"],
  ["shell"],
  ["cp"],
  ["logs"],
  ["port"],
  ["proxy"],
  ["top"],
  ["jobs"],
  ["job"],
  ["job", "start"],
  ["job", "ls"],
  ["job", "attach"],
  ["job", "logs"],
  ["job", "wait"],
  ["job", "kill"],
  ["job", "write"],
  ["job", "rm"],
  ["mcp"],
  ["volume"],
  ["volume", "ls"],
  ["volume", "create"],
  ["volume", "inspect"],
  ["volume", "rm"],
  ["volume", "prune"],
  ["images"],
  ["pull"],
  ["rmi"],
  ["image"],
  ["image", "ls"],
  ["image", "inspect"],
  ["image", "pull"],
  ["image", "load"],
  ["image", "rm"],
  ["image", "prune"]
]

it.live.each(commands.map((words) => ["lightbox", ...words].join(" ")))("%s --help", (name) =>
  Effect.gen(function* () {
    const { stdout } = yield* Support.succeeding(...name.split(" ").slice(1), "--help")
    yield* Effect.promise(() => expect(stdout).toMatchFileSnapshot(`help/${name.replaceAll(" ", "-")}.txt`))
  }).pipe(Effect.provide(Support.layer()))
)

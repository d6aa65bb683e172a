/** `context`: names for hosts. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { BearerToken, HostUrl, Name } from "../../config/schemas.ts"
import { decoder, invalid } from "../../config/validation.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import * as Contexts from "./contexts.ts"
import { print, printList, tokenVariable } from "../environment.ts"
import { nameFile, nameFlags } from "../failure.ts"
import * as Flags from "../flags.ts"
import * as Shapes from "../json.ts"

const method = "context"

const name = Argument.String("name").pipe(Argument.withMetavar("NAME"), Argument.withDescription("Name of a context"))

const decodeKnown = decoder(Schema.Struct({ name: Name, url: HostUrl, token: BearerToken }), method)

const read = (path: string, flag: string) =>
  Effect.tryPromise({ try: () => Fs.readFile(path, "utf8"), catch: fileFailure(method, "read", path) }).pipe(
    Effect.mapError(nameFile(path)),
    Effect.mapError(nameFlags({ FILE: flag }))
  )

const tokenOf = Effect.fnUntraced(function* (tokenFile: string | undefined) {
  if (tokenFile !== undefined) return (yield* read(tokenFile, "--token-file")).trim()
  const token = process.env[tokenVariable]
  if (token === undefined) return yield* invalid(method, "--token-file", `pass a file, or set ${tokenVariable}`)
  return token
})

const add = Command.make(
  "add",
  {
    name,
    url: Flags.text("url", "URL", "Address of the machine that runs `lightbox host`"),
    tokenFile: Flags.text("token-file", "FILE", `File with a token of the machine (default: $${tokenVariable})`),
    ca: Flags.text("ca", "FILE", "Certificates of your own authority, which that of the machine is checked against"),
    use: Flags.toggle("use", "Use it from now on")
  },
  Effect.fnUntraced(function* ({ ca, name, tokenFile, url, use }) {
    if (name === Contexts.here) return yield* invalid(method, "NAME", `"${name}" is this machine`)
    if (url === undefined) return yield* invalid(method, "--url", "expected the address of a host")
    const checked = yield* decodeKnown({ name, url, token: yield* tokenOf(tokenFile) }).pipe(
      Effect.mapError(
        nameFlags({ name: "NAME", url: "--url", token: tokenFile === undefined ? tokenVariable : "--token-file" })
      )
    )
    if (ca !== undefined) yield* read(ca, "--ca")
    const all = yield* Contexts.read
    const known = {
      url: checked.url,
      token: checked.token,
      ...(ca === undefined ? {} : { ca: Path.resolve(ca) })
    }
    yield* Contexts.write({
      ...all,
      ...(use ? { current: name } : {}),
      contexts: { ...all.contexts, [name]: known }
    })
    yield* print(
      Shapes.Context,
      { name, url, isCurrent: use || all.current === name },
      {
        full: `Added ${name}: lightbox --context ${name} ps`,
        brief: name
      }
    )
  })
).pipe(
  Command.withDescription("Add a context, or replace it"),
  Command.withExamples([
    { command: "lightbox context add kvm --url https://kvm.example.com:7400 --token-file token.txt --use" }
  ])
)

const list = Command.make("list", {}, () =>
  Effect.flatMap(Contexts.read, ({ contexts, current }) =>
    printList(
      Schema.Array(Shapes.Context),
      [
        { name: Contexts.here, isCurrent: current === undefined },
        ...Object.entries(contexts).map(([name, { url }]) => ({ name, url, isCurrent: name === current }))
      ],
      {
        columns: ["NAME", "URL", "CURRENT"],
        row: ({ isCurrent, name, url }) => [name, url ?? "-", isCurrent ? "yes" : "no"],
        none: ""
      }
    )
  )
).pipe(Command.withAlias("ls"), Command.withDescription("List contexts"))

const use = Command.make(
  "use",
  { name },
  Effect.fnUntraced(function* ({ name }) {
    const { current: _, ...all } = yield* Contexts.read
    const isHere = name === Contexts.here
    const known = isHere ? undefined : yield* Contexts.find(all, name, "NAME")
    yield* Contexts.write(isHere ? all : { ...all, current: name })
    yield* print(
      Shapes.Context,
      { name, ...(known === undefined ? {} : { url: known.url }), isCurrent: true },
      { full: isHere ? "Using this machine" : `Using ${name}, ${known?.url ?? ""}`, brief: name }
    )
  })
).pipe(Command.withDescription("Use a context from now on; `local` is this machine"))

const remove = Command.make(
  "remove",
  { name },
  Effect.fnUntraced(function* ({ name }) {
    const { current, ...all } = yield* Contexts.read
    yield* Contexts.find(all, name, "NAME")
    const contexts = Record.remove(all.contexts, name)
    yield* Contexts.write({ ...all, ...(current === undefined || current === name ? {} : { current }), contexts })
    yield* print(Shapes.Removed, { removed: [name] }, { full: `Removed ${name}`, brief: "" })
  })
).pipe(Command.withAlias("rm"), Command.withDescription("Remove a context. The machine is not asked"))

export const context = Command.make("context").pipe(
  Command.withDescription("Name machines that run `lightbox host`, and choose one"),
  Command.withSubcommands([add, list, use, remove])
)

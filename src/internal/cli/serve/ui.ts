/** `ui`. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as ChildProcess from "node:child_process"
import { driver, Json, Outputs, print } from "../environment.ts"
import { nameFlags } from "../failure.ts"
import * as Flags from "../flags.ts"
import * as Shapes from "../json.ts"
import * as BrowserFile from "./browserFile.ts"

/** The program that opens a file in the browser of a desktop. */
const openers: { readonly [platform: string]: string } = { darwin: "open", linux: "xdg-open" }

/** Checks whether there is a desktop, and a person in front of it. */
const hasDesktop = (): boolean =>
  process.env["SSH_CONNECTION"] === undefined &&
  (process.platform === "darwin" ||
    process.env["DISPLAY"] !== undefined ||
    process.env["WAYLAND_DISPLAY"] !== undefined)

/** Opens a link in a browser, if that is possible: it is printed anyway. */
const openBrowser = Effect.fnUntraced(function* (url: string) {
  const program = openers[process.platform]
  if (program === undefined || !hasDesktop()) return
  const file = yield* BrowserFile.write(url, BrowserFile.folders())
  if (file === undefined) return
  const child = ChildProcess.spawn(program, [file], { detached: true, stdio: "ignore" })
  child.on("error", () => {})
  child.unref()
})

export const ui = Command.make(
  "ui",
  {
    port: Flags.count("port", "PORT", "Port to listen on (default: a free one)"),
    open: Flag.Boolean("open").pipe(
      Flag.withDescription("Open it in the browser of this desktop (default: yes, from a terminal)"),
      Flag.withDefault(true)
    )
  },
  Effect.fnUntraced(function* ({ open, port }) {
    // Effect's HTTP and RPC modules, which few other commands need.
    const Page = yield* Effect.promise(() => import("../../../Page.ts"))
    const { url } = yield* Page.serve({ port }).pipe(Effect.mapError(nameFlags({ port: "--port" })))
    yield* print(Shapes.Ui, { url }, { full: url })
    const { stdout } = yield* Outputs
    if (open && stdout.isTTY === true && !(yield* Json)) yield* Effect.catchDefect(openBrowser(url), () => Effect.void)
    return yield* Effect.never
  }, Effect.scoped)
).pipe(
  Command.withDescription("Show builds, sandboxes, snapshots and volumes in a browser until Ctrl+C"),
  Command.withExamples([
    { command: "lightbox ui", description: "Print a link that works once" },
    { command: "lightbox ui --port 7500 --no-open", description: "Reach it through `ssh -L 7500:localhost:7500`" }
  ]),
  Command.provide(driver())
)

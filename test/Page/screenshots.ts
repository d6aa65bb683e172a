/** Takes the pictures of the guide: `npm run screenshots [FOLDER]`, by default those in `examples/guides/pictures`. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import type { Page as Tab } from "playwright-core"
import * as Lightbox from "../../src/Lightbox.ts"
import * as Page from "../../src/Page.ts"
import * as Browser from "./Browser.ts"
import * as World from "./world.ts"

const folder = process.argv[2] ?? fileURLToPath(new URL("../../examples/guides/pictures", import.meta.url))

type Step = (page: Tab) => Promise<unknown>

/** Until there is something to see in the plots. */
const settle: Step = (page) => page.waitForTimeout(8000)

const pictures: ReadonlyArray<{
  readonly name: string
  readonly hash: string
  readonly options?: Browser.Options
  readonly step?: Step
}> = [
  {
    name: "failed-build",
    hash: "#/builds",
    step: (page) =>
      page
        .getByRole("row", { name: /failed/ })
        .getByRole("link")
        .click()
  },
  {
    name: "failed-build-narrow",
    hash: "#/builds",
    options: { width: 390, height: 844, colors: "dark" },
    step: (page) =>
      page
        .getByRole("row", { name: /failed/ })
        .getByRole("link")
        .click()
  },
  { name: "sandbox", hash: "#/sandboxes/web", step: settle },
  { name: "snapshots", hash: "#/snapshots", step: (page) => page.getByLabel("Keep generations").fill("1") }
]

Effect.gen(function* () {
  Fs.mkdirSync(folder, { recursive: true })
  yield* World.make
  const { url } = yield* Page.serve()
  const origin = new URL(url).origin
  const browser = yield* Browser.make
  // One session for all windows.
  const first = yield* Browser.window(browser)
  yield* Effect.promise(() => first.page.goto(url))
  yield* Effect.promise(() => first.page.waitForURL(`${origin}/`))
  const state = yield* Effect.promise(() => first.context.storageState())
  for (const { hash, name, options, step } of pictures) {
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { page, problems } = yield* Browser.window(browser, options, state)
        yield* Effect.addFinalizer(() => Effect.forEach(problems, (problem) => Console.error(`${name}: ${problem}`)))
        yield* Effect.promise(async () => {
          page.setDefaultTimeout(10_000)
          await page.goto(`${origin}/${hash}`)
          await page.getByText("live", { exact: true }).waitFor()
          await page.locator("main > .title").waitFor()
          await step?.(page)
          await page.waitForTimeout(600)
          await page.screenshot({ path: Path.join(folder, `${name}.png`) })
        })
      })
    )
  }
  yield* Console.log(`Wrote ${pictures.length} pictures to ${folder}`)
}).pipe(Effect.scoped, Effect.provide(Layer.merge(World.layer(1), NodeServices.layer)), Lightbox.runMain())

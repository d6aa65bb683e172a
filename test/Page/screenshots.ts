/** Takes the pictures of the guide: `npm run screenshots [FOLDER]`, by default those in `examples/guides/pictures`. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Lightbox from "../../src/Lightbox.ts"
import * as Page from "../../src/Page.ts"
import * as Browser from "./Browser.ts"
import * as World from "./world.ts"

const folder = process.argv[2] ?? fileURLToPath(new URL("../../examples/guides/pictures", import.meta.url))

const phone = { width: 390, height: 844 }

const only = process.argv[3]

type Step = (page: import("playwright-core").Page) => Promise<unknown>

const settle: Step = (page) => page.waitForTimeout(2500)

const pictures: ReadonlyArray<{
  readonly name: string
  readonly hash: string
  readonly options?: Browser.Options
  readonly step?: Step
}> = [
  { name: "builds", hash: "#/builds" },
  {
    name: "failed-build",
    hash: "#/builds",
    step: (page) => page.getByRole("row", { name: /failed/ }).getByRole("link").click()
  },
  {
    name: "failed-build-dark",
    hash: "#/builds",
    options: { colors: "dark" },
    step: (page) => page.getByRole("row", { name: /failed/ }).getByRole("link").click()
  },
  {
    name: "failed-build-narrow",
    hash: "#/builds",
    options: phone,
    step: (page) => page.getByRole("row", { name: /failed/ }).getByRole("link").click()
  },
  { name: "sandboxes", hash: "#/sandboxes" },
  { name: "sandboxes-narrow", hash: "#/sandboxes", options: { ...phone, colors: "dark" } },
  { name: "sandbox", hash: "#/sandboxes/web", step: settle },
  { name: "jobs", hash: "#/sandboxes/web/jobs", step: (page) => page.getByRole("button", { name: /server/ }).click() },
  { name: "files", hash: "#/sandboxes/web/files", step: (page) => page.getByText("README.md").click() },
  {
    name: "terminal",
    hash: "#/sandboxes/web/terminal",
    step: async (page) => {
      await page.locator(".xterm").waitFor()
      await page.waitForTimeout(500)
      await page.keyboard.type("cat /work/README.md\r")
    }
  },
  { name: "snapshots", hash: "#/snapshots", step: (page) => page.getByLabel("Keep generations").fill("1") },
  { name: "volumes", hash: "#/volumes" },
  { name: "doctor", hash: "#/doctor", step: (page) => page.locator(".findings").waitFor() }
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
  for (const { hash, name, options, step } of pictures.filter(({ name }) => only === undefined || name === only)) {
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { page, problems } = yield* Browser.window(browser, options, state)
        yield* Effect.addFinalizer(() => Effect.forEach(problems, (problem) => Console.error(`${name}: ${problem}`)))
        yield* Effect.promise(async () => {
          page.setDefaultTimeout(10_000)
          await page.goto(`${origin}/${hash}`)
          await page.getByText("live", { exact: true }).waitFor()
          await page.locator("main > .title").waitFor()
          await step?.(page).catch(async (error: unknown) => {
            console.error(await page.locator("body").innerText())
            throw error
          })
          await page.waitForTimeout(600)
          await page.screenshot({ path: Path.join(folder, `${name}.png`) })
        })
      })
    )
  }
  yield* Console.log(`Wrote ${pictures.length} pictures to ${folder}`)
}).pipe(Effect.scoped, Effect.provide(Layer.merge(World.layer(1), NodeServices.layer)), Lightbox.runMain())

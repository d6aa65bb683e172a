/** The page in a real browser, on the twin. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Browser as Chromium, BrowserContext, Page as Tab, WebSocketRoute } from "playwright-core"
import * as PageServer from "../../src/Page.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Browser from "./Browser.ts"
import * as World from "./world.ts"

type Session = Awaited<ReturnType<BrowserContext["storageState"]>>

/** A browser with a session, in which each test has its own window. */
class Served extends Context.Service<
  Served,
  { readonly origin: string; readonly browser: Chromium; readonly session: Session }
>()("effect-lightbox/test/Page/page.whole.test/Served") {}

const served = Layer.effect(
  Served,
  Effect.gen(function* () {
    yield* World.make
    const { url } = yield* PageServer.serve()
    const { origin } = new URL(url)
    const browser = yield* Browser.make
    const { context, page } = yield* Browser.window(browser)
    yield* Effect.promise(async () => {
      await page.goto(url)
      await page.getByRole("heading", { name: "Builds" }).waitFor()
    })
    // The link is not kept where it could be opened again.
    assert.strictEqual(page.url(), `${origin}/`)
    return { origin, browser, session: yield* Effect.promise(() => context.storageState()) }
  })
).pipe(Layer.provideMerge(Layer.merge(World.layer(0), NodeServices.layer)))

const minutes = 5 * 60_000

/** Opens a view in a window of its own. Nothing may go wrong in it. */
const viewing = <E, R>(
  hash: string,
  use: (page: Tab) => Effect.Effect<unknown, E, R> | Promise<unknown>,
  options?: Browser.Options
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { browser, origin, session } = yield* Served
      const { page, problems } = yield* Browser.window(browser, options, session)
      yield* Effect.promise(async () => {
        await page.goto(`${origin}/${hash}`)
        await page.getByText("live", { exact: true }).waitFor()
        await page.locator("main > .title").waitFor()
      })
      const used = use(page)
      yield* Effect.isEffect(used) ? used : Effect.promise(() => used)
      assert.deepStrictEqual(problems, [])
    })
  )

const failed = (page: Tab) => page.getByRole("row", { name: /failed/ }).getByRole("link")

const views: ReadonlyArray<readonly [name: string, hash: string, ready: (page: Tab) => Promise<unknown>]> = [
  ["builds", "#/builds", (page) => failed(page).waitFor()],
  [
    "a failed build",
    "#/builds",
    async (page) => {
      await failed(page).click()
      await page.getByText("expected 119 to equal 120").waitFor()
    }
  ],
  ["sandboxes", "#/sandboxes", (page) => page.getByRole("link", { name: "worker-1" }).waitFor()],
  ["a sandbox", "#/sandboxes/web", (page) => page.getByText("npm-cache").waitFor()],
  ["logs", "#/sandboxes/web/logs", (page) => page.getByText("warming up the cache").waitFor()],
  [
    "jobs",
    "#/sandboxes/web/jobs",
    async (page) => {
      await page.getByRole("button", { name: /server/ }).click()
      await page.getByText("listening on 0.0.0.0:3000").waitFor()
    }
  ],
  [
    "files",
    "#/sandboxes/web/files",
    async (page) => {
      await page.getByText("README.md").click()
      await page.getByText("Serves the prices of the shop.").waitFor()
    }
  ],
  ["a terminal", "#/sandboxes/web/terminal", (page) => page.locator(".xterm-screen").waitFor()],
  ["ended sandboxes", "#/ended", (page) => page.getByRole("link", { name: "migration" }).waitFor()],
  [
    "a sandbox that has ended",
    "#/ended",
    async (page) => {
      await page.getByRole("link", { name: "migration" }).click()
      await page.getByText("no such table: prices").waitFor()
    }
  ],
  [
    "snapshots",
    "#/snapshots",
    async (page) => {
      await page.getByRole("button", { name: /^docs/ }).click()
      await page.getByText("docs@1").waitFor()
    }
  ],
  ["volumes", "#/volumes", (page) => page.getByRole("button", { name: "Measure npm-cache" }).waitFor()],
  ["findings", "#/doctor", (page) => page.getByText("Node.js", { exact: false }).first().waitFor()]
]

layer(served, { timeout: minutes, excludeTestServices: true })("the page", (it) => {
  it.effect(
    "shows the cause of a failing build, its line and its output after one click",
    () =>
      viewing("", async (page) => {
        await failed(page).click()
        await page.locator(".cause").getByText("exited with code 1").waitFor()
        await page
          .getByText(/^test\/Page\/world\.ts:\d+$/)
          .last()
          .waitFor()
        await page.getByText("expected 119 to equal 120").waitFor()
        // A search leaves the lines that have the text.
        await page.getByLabel("Find in the log").fill("AssertionError")
        await page.getByText("1 of 9 lines").waitFor()
      }),
    minutes
  )

  it.effect(
    "can be used with the keyboard alone",
    () =>
      viewing("", async (page) => {
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        assert.strictEqual(await page.evaluate(() => document.activeElement?.tagName), "MAIN")
        await page.keyboard.press("/")
        await page.keyboard.type("node-ci")
        // To the list, and to its first row.
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await page.keyboard.press("End")
        await page.waitForFunction(() => document.activeElement?.closest("[data-index='2']") !== null)
        await page.keyboard.press("Home")
        await page.waitForFunction(() => document.activeElement?.closest("[data-index='0']") !== null)
        await page.keyboard.press("Enter")
        await page.locator(".cause").waitFor()
        const step = page.getByRole("button", { name: /npm test/ })
        await step.focus()
        await page.keyboard.press("Enter")
        await page.locator(".cause").waitFor({ state: "detached" })
      }),
    minutes
  )

  for (const [name, hash, ready] of views) {
    it.effect(
      `has no violation in ${name}, light and wide, and dark and 390 pixels wide`,
      () =>
        viewing(hash, async (page) => {
          await ready(page)
          assert.deepStrictEqual(await Browser.violations(page), [])
          await page.emulateMedia({ colorScheme: "dark" })
          await page.setViewportSize({ width: 390, height: 844 })
          assert.deepStrictEqual(await Browser.violations(page), [])
          assert.strictEqual(await Browser.overflow(page), 0)
        }),
      minutes
    )
  }

  it.effect(
    "shows a secret of a build nowhere",
    () =>
      viewing("", async (page) => {
        const received: Array<string> = []
        page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => received.push(String(payload))))
        await page.reload()
        await failed(page).click()
        await page.getByRole("button", { name: /sign in/ }).click()
        await page
          .getByText(/^using /)
          .first()
          .waitFor()
        for (const [, hash, ready] of views) {
          await page.goto(`${new URL(page.url()).origin}/${hash}`)
          await ready(page)
          assert.notInclude(await page.content(), World.secret)
        }
        const text = received.join("")
        assert.include(text, "using ")
        assert.notInclude(text, World.secret)
      }),
    minutes
  )

  it.effect(
    "has a shell that answers, and says when it has ended",
    () =>
      viewing("#/sandboxes/worker-1/terminal", async (page) => {
        await page.locator(".xterm-screen").waitFor()
        await page.keyboard.type("echo $((6 * 7))\r")
        await page.locator(".xterm-rows").getByText("42", { exact: true }).waitFor()
        await page.keyboard.type("exit\r")
        await page.getByText("The shell has ended.").waitFor()
      }),
    minutes
  )

  it.effect(
    "leads from the name of a sandbox that has ended to its record",
    () =>
      viewing("#/sandboxes", async (page) => {
        await page.goto(`${new URL(page.url()).origin}/#/sandboxes/migration`)
        await page.getByRole("link", { name: /^One ended/ }).click()
        await page.getByText("no such table: prices").waitFor()
        await page.getByText("the scope of its launch closed").waitFor()
      }),
    minutes
  )

  it.effect(
    "shows a mark in a name and a file that would reorder their text",
    () =>
      viewing("#/sandboxes/web/files", async (page) => {
        await page.getByText("invoice\ufffdfdp.exe").click()
        await page.getByText("price\ufffd").waitFor()
        assert.notMatch(await page.content(), /[\u202e\u2066]/)
      }),
    minutes
  )

  it.effect(
    "opens a link to a folder",
    () =>
      viewing("#/sandboxes/web/files", async (page) => {
        await page.getByText("shop", { exact: true }).click()
        await page.getByText("prices.csv").click()
        await page.getByText("pear,2").waitFor()
      }),
    minutes
  )

  it.effect(
    "has a terminal that the keyboard comes out of",
    () =>
      viewing("#/sandboxes/worker-1/terminal", async (page) => {
        await page.locator(".xterm-screen").waitFor()
        const isInside = () => page.evaluate(() => document.activeElement?.closest(".shell") !== null)
        assert.isTrue(await isInside())
        await page.keyboard.press("Tab")
        assert.isTrue(await isInside())
        await page.keyboard.press("Control+Shift+ArrowUp")
        assert.strictEqual(await page.evaluate(() => document.activeElement?.textContent), "Terminal")
      }),
    minutes
  )

  it.effect(
    "asks before it stops a sandbox, and shows that it has stopped",
    () =>
      viewing("#/sandboxes/worker-2", async (page) => {
        await page.getByRole("button", { name: "Stop" }).click()
        await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click()
        await page.getByRole("button", { name: "Stop" }).click()
        await page.getByRole("dialog").getByRole("button", { name: "Stop" }).click()
        await page.locator(".title").getByText("stopped").waitFor()
      }),
    minutes
  )

  it.effect(
    "shows what appears while it is open, also after the connection was lost",
    () =>
      viewing("#/sandboxes", (page) =>
        Effect.gen(function* () {
          const connections: Array<WebSocketRoute> = []
          yield* Effect.promise(async () => {
            await page.routeWebSocket(/\/stream$/, (connection) => {
              connection.connectToServer()
              connections.push(connection)
            })
            await page.reload()
          })
          yield* Sandbox.launch({ image: "alpine", name: "added" })
          yield* Effect.promise(async () => {
            await page.getByRole("link", { name: "added" }).waitFor()
            await connections[0]?.close()
          })
          yield* Sandbox.launch({ image: "alpine", name: "later" })
          yield* Effect.promise(() => page.getByRole("link", { name: "later" }).waitFor())
          assert.isAbove(connections.length, 1)
        })
      ),
    minutes
  )
})

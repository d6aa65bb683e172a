/** Debian's Chromium, for tests of the page. */
import Axe from "axe-core"
import * as Effect from "effect/Effect"
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core"
import * as Packages from "../host/Packages.ts"

const purpose = "a test in a browser"

/** Without a window, and with fonts of fixed shapes. 100 MB are downloaded at the first time. */
const packages = ["chromium-headless-shell", "fonts-liberation", "fonts-dejavu-core"]

/** Starts a browser for the scope. */
export const make = Effect.gen(function* () {
  yield* Packages.ensure(purpose, packages)
  return yield* Effect.acquireRelease(
    Effect.promise(() =>
      chromium.launch({
        executablePath: "/usr/bin/chromium-headless-shell",
        // Its own sandbox needs another user than root.
        args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
      })
    ),
    (browser: Browser) => Effect.promise(() => browser.close())
  )
})

export interface Options {
  readonly width?: number
  readonly height?: number
  readonly colors?: "light" | "dark"
}

/** Opens a new window, as another person has it, for the scope. Returns what went wrong in it, too. */
export const window = (
  browser: Browser,
  { colors = "light", height = 800, width = 1280 }: Options = {},
  /** The session of another window. */
  session?: Awaited<ReturnType<BrowserContext["storageState"]>>
) =>
  Effect.gen(function* () {
    const context: BrowserContext = yield* Effect.acquireRelease(
      Effect.promise(() =>
        browser.newContext({
          viewport: { width, height },
          colorScheme: colors,
          reducedMotion: "reduce",
          ...(session === undefined ? {} : { storageState: session })
        })
      ),
      (context: BrowserContext) => Effect.promise(() => context.close())
    )
    const page: Page = yield* Effect.promise(() => context.newPage())
    const problems: Array<string> = []
    page.on("pageerror", (error) => problems.push(error.message))
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") problems.push(message.text())
    })
    return { context, page, problems }
  })

/** In the page, once its source has run there. */
declare const axe: typeof Axe

/** What is wrong for people who cannot see or point. */
export const violations = async (page: Page): Promise<ReadonlyArray<string>> => {
  await page.evaluate(Axe.source)
  return page.evaluate(async () => {
    const { violations } = await axe.run({
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    })
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`))
  })
}

/** The width of what is drawn, beyond that of the window. */
export const overflow = (page: Page): Promise<number> =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

/**
 * Measures how smooth the page is: `test/bootstrap test/Page/frames.ts [SANDBOXES] [LINES]`
 *
 * With 1,000 running sandboxes, which are measured every second, and a build that wrote 10,000 lines, it scrolls from
 * one end to the other, and prints how long frames took.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Lightbox from "../../src/Lightbox.ts"
import * as Page from "../../src/Page.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import type { Page as Tab } from "playwright-core"
import * as Browser from "./Browser.ts"
import * as World from "./world.ts"

const sandboxes = Number(process.argv[2] ?? 1000)
const lines = Number(process.argv[3] ?? 10_000)

/** Scrolls an element for some seconds, and returns how long each frame took, in milliseconds. */
const scrolling = (page: Tab, selector: string): Promise<ReadonlyArray<number>> =>
  page.evaluate(
    (selector) =>
      new Promise<ReadonlyArray<number>>((resolve) => {
        const element = document.querySelector(selector)
        const [frames, seconds] = [[] as Array<number>, 5]
        const began = performance.now()
        let before = began
        const draw = (now: number): void => {
          frames.push(now - before)
          before = now
          const part = (now - began) / (1000 * seconds)
          if (element !== null) element.scrollTop = part * (element.scrollHeight - element.clientHeight)
          if (part < 1) requestAnimationFrame(draw)
          else resolve(frames.slice(1))
        }
        requestAnimationFrame(draw)
      }),
    selector
  )

const report = (what: string, frames: ReadonlyArray<number>): string => {
  const sorted = frames.toSorted((a, b) => a - b)
  const at = (part: number) => (sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0).toFixed(1)
  return `${what}: ${frames.length} frames, median ${at(0.5)} ms, 95 % below ${at(0.95)} ms, longest ${at(1)} ms`
}

Effect.gen(function* () {
  yield* Snapshot.build(Snapshot.make("much-output", "alpine").pipe(Snapshot.shell(`flood ${lines}`)))
  yield* Effect.forEach(
    Array.from({ length: sandboxes }, (_, at) => at),
    (at) => Sandbox.launch({ image: "alpine", name: `worker-${at}`, resources: { memory: "64M" } }),
    { concurrency: 16, discard: true }
  )
  yield* Console.log(`${sandboxes} sandboxes, ${lines} lines of output`)
  const { url } = yield* Page.serve()
  const { origin } = new URL(url)
  const { page, problems } = yield* Browser.window(yield* Browser.make)
  yield* Effect.promise(async () => {
    await page.goto(url)
    await page.waitForURL(`${origin}/`)
    await page.getByText("live", { exact: true }).waitFor()
    await page.goto(`${origin}/#/sandboxes`)
    await page.getByText(`${sandboxes.toLocaleString("en")} running`).waitFor()
  })
  yield* Console.log(report("list of sandboxes", yield* Effect.promise(() => scrolling(page, ".table .scroll"))))
  yield* Effect.promise(async () => {
    await page.goto(`${origin}/#/builds`)
    await page.getByRole("link", { name: "much-output" }).click()
    await page.getByRole("button", { name: /flood/ }).click()
    await page.getByText(/\d,\d+ lines/).waitFor()
  })
  yield* Console.log(report("log of a step", yield* Effect.promise(() => scrolling(page, ".log .scroll"))))
  for (const problem of problems) yield* Console.error(problem)
}).pipe(Effect.scoped, Effect.provide(Layer.merge(World.layer(), NodeServices.layer)), Lightbox.runMain())

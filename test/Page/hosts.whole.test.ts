/** The page on a fleet, in a real browser. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Page from "../../src/Page.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Cases from "../internal/directory/cases.ts"
import * as Fleet from "../MicrosandboxFleet/support.ts"
import * as Browser from "./Browser.ts"

const twin = { images: { "alpine:3": {} }, budget: { memory: "2G" } } as const

layer(NodeServices.layer, { excludeTestServices: true })("the page of a fleet", (it) => {
  it.effect(
    "shows its hosts, what they have, and why one takes no sandboxes",
    () =>
      Effect.gen(function* () {
        const url = yield* Fleet.directory
        const one = yield* Fleet.host(url, { twin, member: { labels: { zone: "a" } } })
        const two = yield* Fleet.host(url, { twin })
        const directory = yield* Cases.open(url)
        yield* directory.cordon(two.id, "its disk is being replaced")
        const { services } = yield* Fleet.program(url)
        yield* Effect.gen(function* () {
          yield* Sandbox.launch({ image: "alpine:3", name: "web" })
          const browser = yield* Browser.make
          for (const options of [{}, { width: 390, height: 844, colors: "dark" } as const]) {
            const { page, problems } = yield* Browser.window(browser, options)
            const { url: link } = yield* Page.serve()
            const violations = yield* Effect.promise(async () => {
              await page.goto(link)
              await page.getByRole("link", { name: "Hosts" }).click()
              await page.getByRole("row", { name: new RegExp(`${one.id}.*ready.*1`) }).waitFor()
              await page.getByRole("row", { name: new RegExp(`${two.id}.*cordoned`) }).waitFor()
              assert.strictEqual(await Browser.overflow(page), 0)
              return Browser.violations(page)
            })
            assert.deepStrictEqual([...violations, ...problems], [])
          }
        }).pipe(Effect.provideContext(services))
      }).pipe(Effect.scoped),
    120_000
  )
})

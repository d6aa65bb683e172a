/** The page's server with a real microVM: a shell in its terminal, its metrics and its files. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Page from "../../src/Page.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Support from "../microvm/support.ts"
import * as Client from "./Client.ts"

layer(Support.layer, { excludeTestServices: true })("the page", (it) => {
  it.effect("has a shell in a microVM, and shows its use of memory and its files", () =>
    Effect.gen(function* () {
      yield* Sandbox.launch({ name: "page", image: Support.image })
      const { url } = yield* Page.serve()
      const { ask, follow } = yield* Client.stream(yield* Client.open(url))
      const id = "0123456789abcdef"
      const terminal = yield* follow("terminal", { name: "page", id, rows: 24, columns: 80 })
      let text = ""
      const until = (wanted: string) =>
        terminal.until((piece) => {
          text += Buffer.from(String(piece), "base64").toString()
          return text.includes(wanted) ? text : undefined
        })
      // The prompt.
      yield* until("# ")
      assert.deepStrictEqual(yield* ask("resize", { id, rows: 30, columns: 100 }), { value: null })
      yield* ask("type", { id, text: "stty size; echo $((6 * 7)) > /root/answer; tty\r" })
      yield* until("/dev/pts/")
      assert.include(text, "30 100")
      assert.deepStrictEqual(yield* ask("file", { name: "page", path: "/root/answer" }), {
        value: { isText: true, isComplete: true, text: "42\n" }
      })
      const changes = yield* follow("watch")
      const usage = yield* changes.until((value) =>
        JSON.stringify(value).startsWith('{"_tag":"Usages"') ? JSON.stringify(value) : undefined
      )
      assert.match(usage, /"memoryLimit":[1-9]/)
      yield* ask("type", { id, text: "exit\r" })
      assert.deepInclude((yield* terminal.all).exit, { _tag: "Success" })
    }).pipe(Effect.scoped)
  )
})

/** An agent: a language model, its tools, and a loop until it answers. */
import * as Chat from "effect/ai/Chat"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SandboxTools from "effect-lightbox/SandboxTools"
import * as ScriptedModel from "./scriptedModel.ts"

export const program = Effect.gen(function* () {
  const toolkit = yield* SandboxTools.toolkit
  const chat = yield* Chat.fromPrompt("Which primes are below 30? Write a program for it.")
  while (true) {
    const { text, toolCalls, toolResults } = yield* chat.generateText({ prompt: [], toolkit })
    if (toolCalls.length === 0) return yield* Console.log(`answer: ${text}`)
    for (const { name, result } of toolResults) yield* Console.log(`${name}: ${show(result)}`)
  }
})

/** What the model sees, except the ids of jobs, which are random. */
const show = (result: object): string => JSON.stringify(result, (key, value) => (key === "id" ? undefined : value))

const script = (from: number): string => `i=${from}
while [ $i -lt 30 ]; do
  j=2
  while [ $((j * j)) -le $i ] && [ $((i % j)) -ne 0 ]; do j=$((j + 1)); done
  [ $((j * j)) -le $i ] || echo $i
  i=$((i + 1))
done | tr '\\n' ' '
`

const decodeFile = Schema.decodeUnknownSync(Schema.Struct({ content: Schema.String }))

const contentOf = (result: unknown): string => decodeFile(result).content

/** What a model would do that makes a mistake, looks at what came of it, and corrects it. */
export const model = ScriptedModel.layer([
  ScriptedModel.call("run", { script: "sh /root/primes.sh" }),
  ScriptedModel.call("write", { path: "/root/primes.sh", content: script(1) }),
  ScriptedModel.call("run", { script: "sh /root/primes.sh" }),
  ScriptedModel.call("edit", { path: "/root/primes.sh", old: "i=1\n", new: "i=2\n" }),
  ScriptedModel.call("run", { script: "sh /root/primes.sh > /root/primes.txt" }),
  ScriptedModel.call("read", { path: "/root/primes.txt" }),
  ScriptedModel.answer(([primes]) => contentOf(primes).trim())
])

/** An agent: a language model, its tools, and a loop until it answers. */
import * as Chat from "effect/ai/Chat"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as ScriptedModel from "./scriptedModel.ts"
import { SandboxTools } from "./tools.ts"

export const program = Effect.gen(function* () {
  const toolkit = yield* SandboxTools
  const chat = yield* Chat.fromPrompt("Which primes are below 30? Write a program for it.")
  while (true) {
    const { text, toolCalls, toolResults } = yield* chat.generateText({ prompt: [], toolkit })
    if (toolCalls.length === 0) return yield* Console.log(`answer: ${text}`)
    for (const { name, result } of toolResults) yield* Console.log(`${name}: ${JSON.stringify(result) ?? "done"}`)
  }
})

const script = (from: number): string => `i=${from}
while [ $i -lt 30 ]; do
  j=2
  while [ $((j * j)) -le $i ] && [ $((i % j)) -ne 0 ]; do j=$((j + 1)); done
  [ $((j * j)) -le $i ] || echo $i
  i=$((i + 1))
done | tr '\\n' ' '
`

/** What a model would do that makes a mistake, looks at what came of it, and corrects it. */
export const model = ScriptedModel.layer([
  ScriptedModel.call("run", { script: "sh primes.sh" }),
  ScriptedModel.call("writeFile", { path: "/root/primes.sh", content: script(1) }),
  ScriptedModel.call("run", { script: "sh primes.sh" }),
  ScriptedModel.call("writeFile", { path: "/root/primes.sh", content: script(2) }),
  ScriptedModel.call("run", { script: "sh primes.sh > primes.txt" }),
  ScriptedModel.call("readFile", { path: "/root/primes.txt" }),
  ScriptedModel.answer(([primes]) => String(primes).trim())
])

/** A language model that plays a part, so that what it does with its tools can be shown without a network. */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

/** What the model does next, given what its last tools told. */
export type Turn = (results: ReadonlyArray<unknown>) => Response.PartEncoded

/** The model calls a tool. */
export const call =
  (name: string, params: unknown): Turn =>
  () => ({ type: "tool-call", id: `call-${name}`, name, params })

/** The model answers. */
export const answer =
  (text: (results: ReadonlyArray<unknown>) => string): Turn =>
  (results) => ({ type: "text", text: text(results) })

const resultsOf = (message: Prompt.Message | undefined): ReadonlyArray<unknown> =>
  message?.role === "tool" ? message.content.flatMap((part) => (part.type === "tool-result" ? [part.result] : [])) : []

const failure = new AiError.AiError({
  module: "ScriptedModel",
  method: "generateText",
  reason: new AiError.InvalidRequestError({ description: "the script has no such turn" })
})

/** A model that does one turn after the other. */
export const layer = (turns: ReadonlyArray<Turn>): Layer.Layer<LanguageModel.LanguageModel> =>
  Layer.effect(
    LanguageModel.LanguageModel,
    LanguageModel.make({
      generateText: ({ prompt }) => {
        const turn = turns[prompt.content.filter(({ role }) => role === "assistant").length]
        return turn === undefined ? Effect.fail(failure) : Effect.succeed([turn(resultsOf(prompt.content.at(-1)))])
      },
      streamText: () => Stream.fail(failure)
    })
  )

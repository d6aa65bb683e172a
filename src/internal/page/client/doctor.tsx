/** What `lightbox doctor` finds. */
import type { JSX } from "preact"
import { Answered, State, useAnswer } from "./parts.tsx"
import { useStore } from "./store.ts"

export const Doctor = (): JSX.Element => {
  const [answer, again] = useAnswer("doctor", undefined)
  const isLoading = answer._tag === "Loading" || (answer._tag === "Value" && answer.isLoading)
  const { hello } = useStore()
  const machine = hello?.machine
  return (
    <>
      <header class="title">
        <h1>Doctor</h1>
        <p>
          {machine === undefined
            ? "Whether this machine can run sandboxes"
            : `Whether ${machine}, where this page comes from, can run sandboxes. Yours run elsewhere.`}
        </p>
        <button type="button" class="end" disabled={isLoading} onClick={again}>
          {isLoading ? "Checking…" : "Check again"}
        </button>
      </header>
      <Answered of={answer} what={`Checking ${machine ?? "this machine"}`}>
        {(findings) => (
          <ul class="findings">
            {findings.map(({ found, remedy, status, topic }) => (
              <li key={topic}>
                <h2>{topic}</h2>
                <State word={status} />
                <p>{found}</p>
                {remedy === undefined ? null : <pre class="remedy">{remedy}</pre>}
              </li>
            ))}
          </ul>
        )}
      </Answered>
    </>
  )
}

/** One build as a timeline of steps. */
import type { JSX } from "preact"
import { useEffect, useState } from "preact/hooks"
import type { BuildDetail, Output, Problem as ProblemModel, Span, Step } from "../protocol.ts"
import * as Connection from "./connection.ts"
import { duration, oneLine, plain } from "./format.ts"
import type { Lines } from "./lines.ts"
import { Age, Facts, Loading, Problem, State, useNow } from "./parts.tsx"
import { FollowedLog } from "./rows.tsx"

/** Adds pieces of the output of a step, and notes between them. */
const addPieces = (lines: Lines): ((piece: Output) => void) => {
  let attempt = 1
  return (piece) => {
    if (piece.attempt !== attempt) lines.note(`— attempt ${piece.attempt} —`)
    attempt = piece.attempt
    if (piece.source === "gap") lines.note("— output was left out of the record here —")
    else lines.add(piece.text, piece.source)
  }
}

const words: { readonly [outcome: string]: string } = {
  cached: "A stored result was used.",
  taken: "Another build made the result meanwhile.",
  pending: "The build did not come to this step.",
  ended: "The build ended during this step."
}

const wordOf = ({ attempts, outcome }: Step): string => (outcome === "ran" && attempts > 1 ? "retried" : outcome)

const isBad = ({ outcome }: Step): boolean => outcome === "failed" || outcome === "ended"

const kinds: { readonly [kind in Span["kind"]]: string } = {
  step: "ran",
  wait: "waited for another process",
  pull: "pulled the image",
  boot: "booted",
  checkpoint: "saved"
}

/** A part of the time of a build, as a bar. */
const Bar = ({
  from,
  isFailed,
  kind,
  title,
  to
}: {
  readonly from: number
  readonly to: number
  readonly kind: string
  readonly isFailed: boolean
  readonly title: string
}) => (
  <span
    class={`span ${kind}${isFailed ? " failed" : ""}`}
    title={title}
    style={{ left: `${(100 * from).toFixed(2)}%`, width: `max(3px, ${(100 * (to - from)).toFixed(2)}%)` }}
  />
)

const Track = ({
  build,
  now,
  spans
}: {
  readonly build: BuildDetail
  readonly spans: ReadonlyArray<Span>
  readonly now: number
}) => {
  const start = build.startedAt
  const end = Math.max(
    start + (build.duration ?? 0),
    ...build.spans.map((span) => span.end),
    build.status === "running" ? now : 0,
    start + 1
  )
  const last = build.spans.at(-1)
  return (
    <span class="track" aria-hidden="true">
      {spans.map((span) => {
        // What goes on has no end yet.
        const until = build.status === "running" && span === last ? end : span.end
        return (
          <Bar
            key={`${span.kind}${span.start}${span.attempt}`}
            from={(span.start - start) / (end - start)}
            to={(until - start) / (end - start)}
            kind={span.kind}
            isFailed={span.isFailed}
            title={`${kinds[span.kind]}${span.attempt === undefined || span.attempt === 1 ? "" : `, attempt ${span.attempt}`}: ${duration(until - span.start)}`}
          />
        )
      })}
    </span>
  )
}

const StepRow = ({
  build,
  isOpen,
  now,
  onToggle,
  step
}: {
  readonly build: BuildDetail
  readonly step: Step
  readonly now: number
  readonly isOpen: boolean
  readonly onToggle: () => void
}) => {
  const { attempts, declaredAt, index, outcome, problem, reason, startedAt } = step
  const isOver = build.status !== "running"
  const took = outcome === "running" && startedAt !== undefined ? now - startedAt : step.duration
  const panel = `step-${index}`
  return (
    <li class={`step ${outcome}${isOpen ? " open" : ""}`}>
      <button type="button" class="summary" aria-expanded={isOpen} aria-controls={panel} onClick={onToggle}>
        <span class="index">{index}</span>
        <span class="what">{oneLine(step.description)}</span>
        <State word={wordOf(step)} />
        <Track build={build} now={now} spans={build.spans.filter((span) => span.index === index)} />
        <span class="took">{duration(took)}</span>
      </button>
      {isOpen ? (
        <div class="details" id={panel}>
          {problem !== undefined && isBad(step) ? <pre class="cause">{plain(problem)}</pre> : null}
          <Facts
            of={[
              ["Outcome", words[outcome]],
              ["Why", reason],
              ["Declared", declaredAt === undefined ? undefined : <code>{declaredAt}</code>],
              ["Attempts", attempts > 1 ? attempts : undefined],
              [
                "Command",
                step.description.trim().includes("\n") ? (
                  <pre class="script">{plain(step.description.trim())}</pre>
                ) : undefined
              ]
            ]}
          />
          {attempts > 0 ? (
            <FollowedLog
              label={`Output of step ${index}`}
              tag="buildLog"
              payload={{ id: build.id, index }}
              adder={addPieces}
              isOver={isOver}
            />
          ) : null}
        </div>
      ) : null}
    </li>
  )
}

const rest: ReadonlyArray<Span["kind"]> = ["wait", "pull", "boot", "checkpoint"]

export const BuildView = ({ id }: { readonly id: string }): JSX.Element => {
  const [build, setBuild] = useState<BuildDetail>()
  const [problem, setProblem] = useState<ProblemModel>()
  const [toggled, setToggled] = useState<ReadonlySet<number>>(new Set())
  const now = useNow()
  useEffect(() => {
    setBuild(undefined)
    setProblem(undefined)
    setToggled(new Set())
    return Connection.follow("build", { id }, { values: (values) => setBuild(values.at(-1)), problem: setProblem })
  }, [id])
  if (problem !== undefined) return <Problem of={problem} />
  if (build === undefined) return <Loading />
  const { declaredAt, followed, generation, image, imageDigest, parent, program, snapshot, status } = build
  // What failed is open, and what runs.
  const isFirst = ({ outcome }: Step) => outcome === "running"
  const toggle = (index: number) =>
    setToggled((before) => {
      const after = new Set(before)
      if (!after.delete(index)) after.add(index)
      return after
    })
  const others = build.spans.filter(({ kind }) => rest.includes(kind))
  const isExplained = build.steps.some((step) => isBad(step) && step.problem !== undefined)
  return (
    <>
      <header class="title">
        <p class="path">
          <a href="#/builds">Builds</a>
        </p>
        <h1>{snapshot}</h1>
        <State word={status} />
      </header>
      {build.problem === undefined || isExplained ? null : <Problem of={{ problem: build.problem }} />}
      <Facts
        of={[
          ["Build", <code key="id">{id}</code>],
          ["Started", <Age key="started" at={build.startedAt} now={now} />],
          ["Took", duration(status === "running" ? now - build.startedAt : build.duration)],
          ["Generation", generation],
          ["Image", imageDigest === undefined ? image : `${image} (${imageDigest.slice(0, 19)})`],
          ["By", `${program}, process ${build.pid}`],
          ["Declared", declaredAt === undefined ? undefined : <code key="declared">{declaredAt}</code>],
          [
            "For",
            parent === undefined ? undefined : (
              <a key="parent" href={`#/builds/${parent}`}>
                build {parent}
              </a>
            )
          ],
          [
            "Waited for",
            followed.length === 0
              ? undefined
              : followed.map((other) => (
                  <a key={other} href={`#/builds/${other}`}>
                    build {other}
                  </a>
                ))
          ]
        ]}
      />
      <section aria-labelledby="steps">
        <h2 id="steps">Steps</h2>
        {build.steps.length === 0 ? (
          <p class="quiet">The build did not come to a step.</p>
        ) : (
          <ol class="steps">
            {others.length === 0 ? null : (
              <li class="step others">
                <div class="summary">
                  <span class="index" />
                  <span class="what quiet">
                    {rest
                      .flatMap((kind) => {
                        const all = others.filter((span) => span.kind === kind)
                        const total = all.reduce((sum, span) => sum + span.end - span.start, 0)
                        return all.length === 0 ? [] : [`${kinds[kind]} ${duration(total)}`]
                      })
                      .join(", ")}
                  </span>
                  <Track build={build} now={now} spans={others} />
                  <span class="took" />
                </div>
              </li>
            )}
            {build.steps.map((step) => (
              <StepRow
                key={step.index}
                build={build}
                step={step}
                now={now}
                isOpen={(isBad(step) || isFirst(step)) !== toggled.has(step.index)}
                onToggle={() => toggle(step.index)}
              />
            ))}
          </ol>
        )}
        <p class="legend" aria-hidden="true">
          <span class="span step" /> ran <span class="span step failed" /> failed <span class="span wait" /> waited for
          another process <span class="span pull" /> pulled <span class="span boot" /> booted{" "}
          <span class="span checkpoint" /> saved
        </p>
      </section>
    </>
  )
}

/** Parts that several views share. */
import type { ComponentChildren, JSX } from "preact"
import { useEffect, useId, useRef, useState } from "preact/hooks"
import type { Problem as ProblemModel } from "../protocol.ts"
import * as Connection from "./connection.ts"
import { age, plain, time } from "./format.ts"

// =============================================================================
// States
// =============================================================================

const tones: { readonly [state: string]: "good" | "bad" | "busy" | "warn" | "calm" } = {
  built: "good",
  unchanged: "calm",
  failed: "bad",
  lost: "bad",
  interrupted: "warn",
  unknown: "warn",
  running: "busy",
  cached: "calm",
  ran: "good",
  retried: "warn",
  ended: "bad",
  taken: "calm",
  pending: "calm",
  starting: "busy",
  draining: "busy",
  paused: "warn",
  crashed: "bad",
  stopped: "calm",
  created: "calm",
  succeeded: "good",
  ok: "good",
  warning: "warn",
  problem: "bad",
  kept: "calm",
  removable: "warn"
}

/** A state in a word, with a mark for the eye. */
export const State = ({ tone, word }: { readonly word: string; readonly tone?: string }): JSX.Element => (
  <span class={`state ${tone ?? tones[word] ?? "calm"}`}>
    <span class="dot" aria-hidden="true" />
    {word}
  </span>
)

/** The state of a sandbox: it is good that one runs. */
export const Status = ({ of }: { readonly of: string }): JSX.Element => (
  <State word={of} {...(of === "running" ? { tone: "good" } : {})} />
)

/** Says what went wrong, and what to do. */
export const Problem = ({ of }: { readonly of: Omit<ProblemModel, "reason"> }): JSX.Element => (
  <div class="problem" role="alert">
    <p>{plain(of.problem)}</p>
    {of.hint === undefined ? null : <p class="hint">{plain(of.hint)}</p>}
  </div>
)

export const Empty = ({ children, title }: { readonly title: string; readonly children?: ComponentChildren }) => (
  <div class="empty">
    <p class="lead">{title}</p>
    {children}
  </div>
)

export const Loading = ({ what = "Loading" }: { readonly what?: string }): JSX.Element => (
  <p class="loading" role="status">
    {what}…
  </p>
)

// =============================================================================
// Facts
// =============================================================================

export type Fact = readonly [title: string, value: ComponentChildren]

/** Names and values; those without a value are left out. */
export const Facts = ({ of }: { readonly of: ReadonlyArray<Fact> }): JSX.Element => (
  <dl class="facts">
    {of.flatMap(([title, value]) =>
      value === undefined || value === null || value === ""
        ? []
        : [
            <div key={title}>
              <dt>{title}</dt>
              <dd>{value}</dd>
            </div>
          ]
    )}
  </dl>
)

const everySecond = 1000

/** The time, as it passes. */
export const useNow = (): number => {
  const [now, setNow] = useState(Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everySecond)
    return () => clearInterval(timer)
  }, [])
  return now
}

export const Age = ({ at, now }: { readonly at: number | undefined; readonly now: number }): JSX.Element =>
  at === undefined ? (
    <span>–</span>
  ) : (
    <time dateTime={new Date(at).toISOString()} title={time(at)}>
      {age(at, now)}
    </time>
  )

// =============================================================================
// Asking
// =============================================================================

export type Answer<A> =
  | { readonly _tag: "Loading" }
  | { readonly _tag: "Value"; readonly value: A; readonly isLoading: boolean }
  | { readonly _tag: "Problem"; readonly problem: ProblemModel }

/** Asks when the view is shown, when its question changes, and again on demand or after a lost connection. */
export const useAnswer = <T extends Connection.Tag>(
  tag: T,
  payload: Connection.Payload<T>
): readonly [Answer<Connection.Value<T>>, () => void] => {
  const [answer, setAnswer] = useState<Answer<Connection.Value<T>>>({ _tag: "Loading" })
  const [round, setRound] = useState(0)
  const question = JSON.stringify(payload)
  const asked = useRef(question)
  useEffect(() => {
    let isOver = false
    // The answer to the same question is shown until there is a new one.
    const isSame = asked.current === question
    asked.current = question
    setAnswer((before) => (isSame && before._tag === "Value" ? { ...before, isLoading: true } : { _tag: "Loading" }))
    const stop = Connection.onState((state) => {
      if (state !== "open") return
      Connection.request(tag, payload).then(
        (value) => void (isOver || setAnswer({ _tag: "Value", value, isLoading: false })),
        (error: unknown) => void (isOver || setAnswer({ _tag: "Problem", problem: Connection.problemOf(error) }))
      )
    })
    return () => {
      isOver = true
      stop()
    }
  }, [tag, question, round])
  return [answer, () => setRound((count) => count + 1)]
}

/** Shows an answer, or why there is none. */
export const Answered = <A,>({
  of,
  children,
  what
}: {
  readonly of: Answer<A>
  readonly children: (value: A) => ComponentChildren
  readonly what?: string
}): JSX.Element => {
  switch (of._tag) {
    case "Loading":
      return <Loading {...(what === undefined ? {} : { what })} />
    case "Problem":
      return <Problem of={of.problem} />
    case "Value":
      return <>{children(of.value)}</>
  }
}

/** The title of a list that is asked for, and can be asked for again. */
export const ListTitle = <A,>({
  again,
  answer,
  children,
  count,
  path,
  title
}: {
  readonly title: string
  readonly answer: Answer<A>
  readonly count: (value: A) => string
  /** Leads to the list that this one belongs to. */
  readonly path?: ComponentChildren
  readonly children?: ComponentChildren
  readonly again?: () => void
}): JSX.Element => (
  <header class="title">
    {path === undefined ? null : <p class="path">{path}</p>}
    <h1>{title}</h1>
    <p>{answer._tag === "Value" ? count(answer.value) : ""}</p>
    {children}
    {again === undefined ? null : (
      <button type="button" class="end" onClick={again}>
        Read again
      </button>
    )}
  </header>
)

// =============================================================================
// Controls
// =============================================================================

/** Filters a list. The key "/" leads to it. */
export const Search = ({
  label,
  onChange,
  value
}: {
  readonly label: string
  readonly value: string
  readonly onChange: (value: string) => void
}): JSX.Element => {
  const id = useId()
  return (
    <div class="search">
      <label for={id} class="hidden">
        {label}
      </label>
      <input
        id={id}
        type="search"
        placeholder={label}
        value={value}
        autocomplete="off"
        spellcheck={false}
        onInput={({ currentTarget }) => onChange(currentTarget.value)}
      />
    </div>
  )
}

/** Asks before something that cannot be undone. */
export const Confirm = ({
  action,
  children,
  onClose,
  onConfirm,
  title
}: {
  readonly title: string
  readonly action: string
  readonly children: ComponentChildren
  readonly onConfirm: () => void
  readonly onClose: () => void
}): JSX.Element => {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => dialog.current?.showModal(), [])
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
      <h2 id={id}>{title}</h2>
      {children}
      <div class="buttons">
        <button type="button" onClick={() => dialog.current?.close()}>
          Cancel
        </button>
        <button
          type="button"
          class="danger"
          onClick={() => {
            onConfirm()
            dialog.current?.close()
          }}
        >
          {action}
        </button>
      </div>
    </dialog>
  )
}

/** Links to the parts of a view. */
export const Tabs = ({
  label,
  of
}: {
  readonly label: string
  readonly of: ReadonlyArray<{ readonly href: string; readonly title: string; readonly isCurrent: boolean }>
}): JSX.Element => (
  <nav class="tabs" aria-label={label}>
    {of.map(({ href, isCurrent, title }) => (
      <a key={href} href={href} aria-current={isCurrent ? "page" : undefined}>
        {title}
      </a>
    ))}
  </nav>
)

// =============================================================================
// Plots
// =============================================================================

const [width, height] = [240, 48]

/** A line of samples. Its last value is in the text beside it. */
export const Sparkline = ({
  label,
  limit,
  of
}: {
  readonly label: string
  readonly of: ReadonlyArray<number>
  /** The highest value, at least. */
  readonly limit: number
}): JSX.Element => {
  const most = Math.max(limit, ...of, 1e-9)
  const step = width / 119
  const start = width - (of.length - 1) * step
  const points = of.map(
    (value, at) => `${(start + at * step).toFixed(1)},${(height - 2 - (value / most) * (height - 4)).toFixed(1)}`
  )
  return (
    <svg class="sparkline" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={label}>
      {points.length === 0 ? null : (
        <>
          <polygon points={`${start.toFixed(1)},${height} ${points.join(" ")} ${width},${height}`} />
          <polyline points={points.join(" ")} />
        </>
      )}
    </svg>
  )
}

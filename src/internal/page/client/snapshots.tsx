/** Snapshots: their generations, what keeps them, and what a prune would remove. */
import type { JSX } from "preact"
import { useId, useState } from "preact/hooks"
import type { SnapshotName, Snapshots as Model, Verdict } from "../protocol.ts"
import { bytes, oneLine, plural } from "./format.ts"
import { Age, Answered, Empty, Facts, ListTitle, Search, State, useAnswer, useNow } from "./parts.tsx"
import { Table } from "./rows.tsx"

const Name = ({
  isOpen,
  now,
  of,
  onToggle
}: {
  readonly of: SnapshotName
  readonly now: number
  readonly isOpen: boolean
  readonly onToggle: () => void
}) => (
  <li>
    <button type="button" class="summary" aria-expanded={isOpen} onClick={onToggle}>
      <span class="name">{of.name}</span>
      <span class="what quiet">{of.image}</span>
      <span class="number">{bytes(of.allocated ?? of.size)}</span>
      <span class="number wide">{plural(of.generations.length, "generation")}</span>
      <Age at={of.createdAt} now={now} />
    </button>
    {isOpen ? (
      <div class="details">
        {of.generations.length === 0 ? (
          <p class="quiet">Another tool made this snapshot.</p>
        ) : (
          <ol class="generations">
            {of.generations.toReversed().map(({ createdAt, generation, image, isCurrent, key, steps }) => (
              <li key={generation} class={isCurrent ? "current" : undefined}>
                <p>
                  <b>
                    {of.name}@{generation}
                  </b>{" "}
                  {isCurrent ? <State word="current" tone="good" /> : null} <Age at={createdAt} now={now} />{" "}
                  <code class="quiet">{key.slice(0, 12)}</code>
                </p>
                {steps.length === 0 ? null : (
                  <ol class="plain quiet">
                    {image === undefined ? null : <li>from {image}</li>}
                    {steps.map((step, at) => (
                      <li key={at}>{oneLine(step)}</li>
                    ))}
                  </ol>
                )}
              </li>
            ))}
          </ol>
        )}
        <Facts of={Object.entries(of.labels).map(([key, value]) => [key, value] as const)} />
      </div>
    ) : null}
  </li>
)

/** A whole number of a field, or nothing. */
const numberOf = (text: string, least: number): number | undefined => {
  const number = Number(text)
  return text.trim() !== "" && Number.isInteger(number) && number >= least ? number : undefined
}

const Field = ({
  label,
  onChange,
  value
}: {
  readonly label: string
  readonly value: string
  readonly onChange: (value: string) => void
}) => {
  const id = useId()
  return (
    <>
      <label for={id}>{label}</label>
      <input
        id={id}
        inputMode="numeric"
        size={4}
        placeholder="any"
        value={value}
        onInput={({ currentTarget }) => onChange(currentTarget.value)}
      />
    </>
  )
}

const Results = ({ command, now, of }: { readonly of: Model; readonly now: number; readonly command: string }) => {
  const removable = of.verdicts.filter(({ verdict }) => verdict === "removable")
  const verdicts = of.verdicts.toSorted(
    (a, b) => Number(b.verdict === "removable") - Number(a.verdict === "removable") || (b.bytes ?? 0) - (a.bytes ?? 0)
  )
  return (
    <>
      <p>
        {removable.length === 0
          ? "A prune would remove nothing."
          : `A prune would remove ${plural(removable.length, "result")} and free ${bytes(of.freedBytes)}: `}
        {removable.length === 0 ? null : <code>{command}</code>}
      </p>
      <Table<Verdict>
        label="Results of builds"
        rows={verdicts}
        keyOf={({ name }) => name}
        columns={[
          {
            title: "Result",
            width: "minmax(0, 1.4fr)",
            cell: ({ definition, name }) => (
              <span class="name" title={name}>
                {definition ?? name}
              </span>
            )
          },
          { title: "Prune", width: "minmax(6.5rem, 0.7fr)", cell: ({ verdict }) => <State word={verdict} /> },
          { title: "Why", width: "minmax(0, 2fr)", cell: ({ reason }) => <span title={reason}>{reason}</span> },
          {
            title: "Size",
            width: "minmax(5rem, 0.6fr)",
            isNumber: true,
            isWide: true,
            cell: (one) => bytes(one.bytes)
          },
          {
            title: "Used",
            width: "minmax(6rem, 0.7fr)",
            isNumber: true,
            isWide: true,
            cell: ({ usedAt }) => <Age at={usedAt} now={now} />
          }
        ]}
      />
    </>
  )
}

export const Snapshots = (): JSX.Element => {
  const [keepText, setKeep] = useState("")
  const [daysText, setDays] = useState("")
  const [query, setQuery] = useState("")
  const [open, setOpen] = useState<string>()
  const now = useNow()
  const [keep, olderThan] = [numberOf(keepText, 1), numberOf(daysText, 0)]
  const [answer, again] = useAnswer("snapshots", {
    ...(keep === undefined ? {} : { keep }),
    ...(olderThan === undefined ? {} : { olderThan })
  })
  const command = [
    "lightbox prune",
    ...(keep === undefined ? [] : [`--keep ${keep}`]),
    ...(olderThan === undefined ? [] : [`--older-than ${olderThan}d`])
  ].join(" ")
  return (
    <>
      <ListTitle title="Snapshots" answer={answer} count={({ names }) => plural(names.length, "name")} again={again}>
        <Search label="Filter snapshots" value={query} onChange={setQuery} />
      </ListTitle>
      <Answered of={answer} what="Reading the store">
        {(value) =>
          value.names.length === 0 && value.verdicts.length === 0 ? (
            <Empty title="There are no snapshots.">
              <p>
                A build makes them: <code>lightbox build</code>.
              </p>
            </Empty>
          ) : (
            <ul class="items">
              {value.names
                .filter(({ name }) => name.toLowerCase().includes(query.toLowerCase()))
                .map((one) => (
                  <Name
                    key={one.name}
                    of={one}
                    now={now}
                    isOpen={open === one.name}
                    onToggle={() => setOpen(open === one.name ? undefined : one.name)}
                  />
                ))}
            </ul>
          )
        }
      </Answered>
      <section aria-labelledby="results">
        <h2 id="results">What keeps results, and what a prune would remove</h2>
        <form class="inline" onSubmit={(event) => event.preventDefault()}>
          <Field label="Keep generations" value={keepText} onChange={setKeep} />
          <Field label="Keep what was used within days" value={daysText} onChange={setDays} />
        </form>
        {answer._tag === "Value" ? <Results of={answer.value} now={now} command={command} /> : null}
      </section>
    </>
  )
}

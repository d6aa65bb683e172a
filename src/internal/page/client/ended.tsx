/** Sandboxes that have ended. */
import type { JSX } from "preact"
import { useEffect, useState } from "preact/hooks"
import type { Ended, EndedDetail } from "../protocol.ts"
import { duration, plural } from "./format.ts"
import { Lines, type Line } from "./lines.ts"
import { Age, Answered, Empty, Facts, ListTitle, Search, Status, useAnswer, useNow } from "./parts.tsx"
import { Log, Table } from "./rows.tsx"

const hrefOf = ({ id }: Ended): string => `#/ended/${id}`

const matches = ({ image = "", name, reason }: Ended, query: string): boolean =>
  [name, image, reason].some((text) => text.toLowerCase().includes(query))

/** The list of them. */
export const EndedList = (): JSX.Element => {
  const [answer, again] = useAnswer("ended", {})
  const [query, setQuery] = useState("")
  const now = useNow()
  return (
    <>
      <ListTitle
        path={<a href="#/sandboxes">Sandboxes</a>}
        title="Ended sandboxes"
        answer={answer}
        count={({ length }) => plural(length, "record")}
        again={again}
      >
        <Search label="Filter ended sandboxes" value={query} onChange={setQuery} />
      </ListTitle>
      <Answered of={answer}>
        {(all) =>
          all.length === 0 ? (
            <Empty title="No ended sandbox is recorded here.">
              <p>A sandbox leaves a record when it is removed.</p>
            </Empty>
          ) : (
            <Table<Ended>
              label="Ended sandboxes"
              rows={all.filter((one) => matches(one, query.toLowerCase()))}
              keyOf={({ id }) => id}
              href={hrefOf}
              columns={[
                { title: "Name", width: "minmax(0, 1.4fr)", cell: ({ name }) => <span class="name">{name}</span> },
                { title: "State", width: "minmax(6.5rem, 0.7fr)", cell: ({ status }) => <Status of={status} /> },
                { title: "Why it ended", width: "minmax(0, 2fr)", isWide: true, cell: ({ reason }) => reason },
                { title: "Image", width: "minmax(0, 1.2fr)", isWide: true, cell: ({ image = "–" }) => image },
                {
                  title: "Ended",
                  width: "minmax(6rem, 0.8fr)",
                  isNumber: true,
                  cell: ({ endedAt }) => <Age at={endedAt} now={now} />
                }
              ]}
            />
          )
        }
      </Answered>
    </>
  )
}

const Output = ({
  kind,
  label,
  of
}: {
  readonly label: string
  readonly of: ReadonlyArray<string>
  readonly kind: Line["kind"]
}) => {
  const [lines] = useState(() => new Lines())
  const [version, setVersion] = useState(0)
  useEffect(() => {
    lines.clear()
    for (const line of of) lines.add(`${line}\n`, kind)
    setVersion((before) => before + 1)
  }, [of])
  return <Log label={label} lines={lines} version={version} isOver />
}

const Detail = ({ of }: { readonly of: EndedDetail }) => {
  const now = useNow()
  const { createdAt, endedAt, id, image, output, pid, program, reason, snapshot, system } = of
  return (
    <>
      <Facts
        of={[
          ["Ended", <Age key="ended" at={endedAt} now={now} />],
          ["Why", reason],
          ["By", `${program}, process ${pid}`],
          ["Lived", createdAt === undefined ? undefined : duration(endedAt - createdAt)],
          ["Snapshot", snapshot],
          ["Image", image],
          ["Record", <code key="id">{id}</code>]
        ]}
      />
      <section aria-labelledby="output">
        <h2 id="output">The last lines that it wrote</h2>
        <Output label="Last lines" of={output} kind="stdout" />
      </section>
      {system.length === 0 ? null : (
        <section aria-labelledby="system">
          <h2 id="system">The last messages of its kernel and its runtime</h2>
          <Output label="Last messages" of={system} kind="system" />
        </section>
      )}
    </>
  )
}

/** One of them. */
export const EndedView = ({ id }: { readonly id: string }): JSX.Element => {
  const [answer] = useAnswer("endedDetail", { id })
  const found = answer._tag === "Value" ? answer.value : undefined
  return (
    <>
      <header class="title">
        <p class="path">
          <a href="#/sandboxes">Sandboxes</a> / <a href="#/ended">Ended</a>
        </p>
        <h1>{found?.name ?? id}</h1>
        {found === undefined ? null : <Status of={found.status} />}
      </header>
      <Answered of={answer}>{(record) => <Detail of={record} />}</Answered>
    </>
  )
}

/** Those that had a name. */
export const EndedNamed = ({ name }: { readonly name: string }): JSX.Element => {
  const [answer] = useAnswer("ended", { name })
  const now = useNow()
  return (
    <Answered of={answer}>
      {(all) =>
        all.length === 0 ? (
          <p>There is no record of one that has ended.</p>
        ) : (
          <ul class="plain">
            {all.slice(0, 10).map((one) => (
              <li key={one.id}>
                <a href={hrefOf(one)}>
                  One ended <Age at={one.endedAt} now={now} />
                </a>
                : {one.reason}
              </li>
            ))}
          </ul>
        )
      }
    </Answered>
  )
}

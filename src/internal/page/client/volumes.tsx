/** Volumes. */
import type { JSX } from "preact"
import { useState } from "preact/hooks"
import type { Problem as ProblemModel, Volume } from "../protocol.ts"
import * as Connection from "./connection.ts"
import { bytes, plural } from "./format.ts"
import { Age, Answered, Empty, ListTitle, Problem, useAnswer, useNow } from "./parts.tsx"
import { Table } from "./rows.tsx"
import { hrefOf } from "./sandbox.tsx"
import { useStore } from "./store.ts"

/** Measures a volume on demand: it can have many files. */
const Used = ({ name }: { readonly name: string }) => {
  const [state, setState] = useState<number | "busy" | ProblemModel>()
  if (state === "busy") return <span class="quiet">…</span>
  if (typeof state === "number") return <span>{bytes(state)}</span>
  if (state !== undefined) return <Problem of={state} />
  return (
    <button
      type="button"
      class="small"
      aria-label={`Measure ${name}`}
      onClick={() => {
        setState("busy")
        Connection.request("volumeUsage", { name }).then(setState, (error: unknown) =>
          setState(Connection.problemOf(error))
        )
      }}
    >
      Measure
    </button>
  )
}

export const Volumes = (): JSX.Element => {
  const { sandboxes } = useStore()
  const [answer, again] = useAnswer("volumes", undefined)
  const now = useNow()
  const users = (name: string) => sandboxes.filter(({ volumes }) => volumes.includes(name))
  return (
    <>
      <ListTitle title="Volumes" answer={answer} count={({ length }) => plural(length, "volume")} again={again} />
      <Answered of={answer}>
        {(volumes) =>
          volumes.length === 0 ? (
            <Empty title="There are no volumes.">
              <p>
                They keep files when sandboxes end: <code>lightbox volume create NAME</code>.
              </p>
            </Empty>
          ) : (
            <Table<Volume>
              label="Volumes"
              rows={volumes}
              keyOf={({ name }) => name}
              columns={[
                { title: "Name", width: "minmax(0, 1.4fr)", cell: ({ name }) => <span class="name">{name}</span> },
                {
                  title: "Used",
                  width: "minmax(6rem, 0.7fr)",
                  isNumber: true,
                  cell: ({ name }) => <Used name={name} />
                },
                {
                  title: "Limit",
                  width: "minmax(5rem, 0.6fr)",
                  isNumber: true,
                  isWide: true,
                  cell: ({ quota }) => bytes(quota)
                },
                { title: "Kind", width: "minmax(5rem, 0.6fr)", isWide: true, cell: ({ kind }) => kind },
                {
                  title: "Mounted by",
                  width: "minmax(0, 1.2fr)",
                  cell: ({ name }) => {
                    const found = users(name)
                    return found.length === 0
                      ? "–"
                      : found.map((sandbox, at) => (
                          <span key={sandbox.id}>
                            {at === 0 ? "" : ", "}
                            <a href={hrefOf(sandbox.name)}>{sandbox.name}</a>
                          </span>
                        ))
                  }
                },
                {
                  title: "Folder",
                  width: "minmax(0, 2fr)",
                  isWide: true,
                  cell: ({ path }) => (
                    <code class="cut" title={path}>
                      {path}
                    </code>
                  )
                },
                {
                  title: "Created",
                  width: "minmax(6rem, 0.7fr)",
                  isNumber: true,
                  isWide: true,
                  cell: ({ createdAt }) => <Age at={createdAt} now={now} />
                }
              ]}
            />
          )
        }
      </Answered>
    </>
  )
}

/** The list of builds. */
import type { JSX } from "preact"
import { useState } from "preact/hooks"
import type { Build } from "../protocol.ts"
import { duration, plural } from "./format.ts"
import { Age, Empty, Loading, Problem, Search, State, useNow } from "./parts.tsx"
import { Table } from "./rows.tsx"
import { useStore } from "./store.ts"

const stepsOf = ({ stepsReused, stepsRun }: Build): string =>
  [...(stepsRun === 0 ? [] : [`${stepsRun} ran`]), ...(stepsReused === 0 ? [] : [`${stepsReused} cached`])].join(", ")

const matches = ({ id, snapshot, status }: Build, query: string): boolean =>
  [id, snapshot, status].some((text) => text.toLowerCase().includes(query))

export const Builds = (): JSX.Element => {
  const { builds, isReady, trouble } = useStore()
  const [query, setQuery] = useState("")
  const now = useNow()
  const shown = builds.filter((build) => matches(build, query.toLowerCase()))
  const failed = builds.filter(({ status }) => status === "failed").length
  const problem = trouble.get("builds")
  const running = builds.filter(({ status }) => status === "running").length
  return (
    <>
      <header class="title">
        <h1>Builds</h1>
        <p>
          {[
            plural(builds.length, "build"),
            ...(running === 0 ? [] : [`${running} running`]),
            ...(failed === 0 ? [] : [`${failed} failed`])
          ].join(" · ")}
        </p>
        <Search label="Filter builds" value={query} onChange={setQuery} />
      </header>
      {problem === undefined ? null : <Problem of={{ problem }} />}
      {!isReady ? (
        <Loading />
      ) : builds.length === 0 && problem === undefined ? (
        <Empty title="No build is recorded here yet.">
          <p>
            Every build leaves a record, whichever program runs it. Start with <code>lightbox build</code>.
          </p>
        </Empty>
      ) : (
        <Table
          label="Builds"
          rows={shown}
          keyOf={({ id }) => id}
          href={({ id }) => `#/builds/${id}`}
          columns={[
            {
              title: "Snapshot",
              width: "minmax(0, 2fr)",
              cell: ({ snapshot }) => <span class="name">{snapshot}</span>
            },
            { title: "Status", width: "minmax(7rem, 1fr)", cell: ({ status }) => <State word={status} /> },
            { title: "Steps", width: "minmax(0, 1.2fr)", isWide: true, cell: stepsOf },
            {
              title: "Took",
              width: "minmax(5rem, 0.7fr)",
              isNumber: true,
              cell: ({ duration: took, startedAt, status }) => duration(status === "running" ? now - startedAt : took)
            },
            {
              title: "Started",
              width: "minmax(6rem, 0.9fr)",
              isNumber: true,
              isWide: true,
              cell: ({ startedAt }) => <Age at={startedAt} now={now} />
            },
            { title: "Program", width: "minmax(0, 1.4fr)", isWide: true, cell: ({ program }) => program }
          ]}
        />
      )}
    </>
  )
}

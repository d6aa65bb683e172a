/** The list of sandboxes. */
import type { JSX } from "preact"
import { useState } from "preact/hooks"
import type { Sandbox } from "../protocol.ts"
import { bytes, plural } from "./format.ts"
import { Age, Empty, Loading, Problem, Search, Status, useNow } from "./parts.tsx"
import { Table } from "./rows.tsx"
import { hrefOf } from "./sandbox.tsx"
import { useStore } from "./store.ts"

const matches = ({ image = "", name, status }: Sandbox, query: string): boolean =>
  [name, image, status].some((text) => text.toLowerCase().includes(query))

export const Sandboxes = (): JSX.Element => {
  const { isReady, sandboxes, trouble, usages } = useStore()
  const [query, setQuery] = useState("")
  const now = useNow()
  const shown = query === "" ? sandboxes : sandboxes.filter((sandbox) => matches(sandbox, query.toLowerCase()))
  const running = sandboxes.filter(({ status }) => status === "running").length
  const problem = trouble.get("sandboxes")
  return (
    <>
      <header class="title">
        <h1>Sandboxes</h1>
        <p>{`${plural(sandboxes.length, "sandbox").replace(/xs$/, "xes")} · ${running.toLocaleString()} running`}</p>
        <Search label="Filter sandboxes" value={query} onChange={setQuery} />
        <a class="end" href="#/ended">
          Ended sandboxes
        </a>
      </header>
      {problem === undefined ? null : <Problem of={{ problem }} />}
      {!isReady ? (
        <Loading />
      ) : sandboxes.length === 0 && problem === undefined ? (
        <Empty title="There are no sandboxes.">
          <p>
            They appear here as soon as a program launches one. Try <code>lightbox run --image alpine -- sleep 60</code>
            .
          </p>
        </Empty>
      ) : (
        <Table
          label="Sandboxes"
          rows={shown}
          keyOf={({ id }) => id}
          href={({ name }) => hrefOf(name)}
          columns={[
            { title: "Name", width: "minmax(0, 2fr)", cell: ({ name }) => <span class="name">{name}</span> },
            { title: "Status", width: "minmax(6.5rem, 0.8fr)", cell: ({ status }) => <Status of={status} /> },
            { title: "Image", width: "minmax(0, 1.6fr)", isWide: true, cell: ({ image = "–" }) => image },
            {
              title: "CPU",
              width: "minmax(4.5rem, 0.6fr)",
              isNumber: true,
              cell: ({ id }) => {
                const usage = usages.get(id)?.last
                return usage === undefined ? "–" : `${usage.cpuPercent.toFixed(1)} %`
              }
            },
            {
              title: "Memory",
              width: "minmax(6rem, 1fr)",
              isNumber: true,
              isWide: true,
              cell: ({ id, memory }) => `${bytes(usages.get(id)?.last.memory)} / ${bytes(memory)}`
            },
            {
              title: "Ports",
              width: "minmax(0, 0.8fr)",
              isWide: true,
              cell: ({ ports }) => ports.map(({ guest, host }) => `${host}→${guest}`).join(", ") || "–"
            },
            {
              title: "Created",
              width: "minmax(6rem, 0.8fr)",
              isNumber: true,
              isWide: true,
              cell: ({ createdAt }) => <Age at={createdAt} now={now} />
            }
          ]}
        />
      )}
    </>
  )
}

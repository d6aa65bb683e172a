/** The hosts of a fleet. */
import type { JSX } from "preact"
import { useEffect } from "preact/hooks"
import type { Host } from "../protocol.ts"
import { bytes, plural } from "./format.ts"
import { Answered, Empty, ListTitle, State, useAnswer } from "./parts.tsx"
import { Table } from "./rows.tsx"

/** Hosts tell how they are every five seconds. */
const interval = 5000

const toneOf = ({ status }: Host): string => (status === "ready" ? "good" : status === "stopped" ? "calm" : "warn")

const secondsAgo = (millis: number): string => `${Math.round(millis / 1000).toLocaleString()} s ago`

export const Hosts = (): JSX.Element => {
  const [answer, again] = useAnswer("hosts", undefined)
  useEffect(() => {
    const timer = setInterval(again, interval)
    return () => clearInterval(timer)
  }, [])
  return (
    <>
      <ListTitle title="Hosts" answer={answer} count={({ length }) => plural(length, "host")} />
      <Answered of={answer}>
        {(hosts) =>
          hosts.length === 0 ? (
            <Empty title="There are no hosts.">
              <p>
                This machine is not a fleet. Hosts join one with <code>lightbox host --directory URL</code>.
              </p>
            </Empty>
          ) : (
            <Table<Host>
              label="Hosts"
              rows={hosts}
              keyOf={({ id }) => id}
              columns={[
                {
                  title: "Host",
                  width: "minmax(0, 1fr)",
                  cell: ({ address, id }) => (
                    <span class="name" title={address}>
                      {id}
                    </span>
                  )
                },
                {
                  title: "State",
                  width: "minmax(6rem, 0.6fr)",
                  cell: (host) => <State word={host.status} tone={toneOf(host)} />
                },
                {
                  title: "Sandboxes",
                  width: "minmax(5rem, 0.5fr)",
                  isNumber: true,
                  cell: ({ sandboxes }) => sandboxes.toLocaleString()
                },
                {
                  title: "Memory",
                  width: "minmax(8rem, 0.9fr)",
                  isNumber: true,
                  isWide: true,
                  cell: ({ memory, used }) => `${bytes(used)} of ${bytes(memory)}`
                },
                { title: "CPUs", width: "minmax(3rem, 0.3fr)", isNumber: true, isWide: true, cell: ({ cpus }) => cpus },
                {
                  title: "Labels",
                  width: "minmax(0, 1fr)",
                  isWide: true,
                  cell: ({ labels }) =>
                    Object.entries(labels)
                      .map(([name, value]) => `${name}=${value}`)
                      .join(", ")
                },
                {
                  title: "Why",
                  width: "minmax(0, 1.4fr)",
                  isWide: true,
                  cell: ({ reason }) => <span title={reason}>{reason ?? ""}</span>
                },
                {
                  title: "Seen",
                  width: "minmax(5rem, 0.5fr)",
                  isNumber: true,
                  cell: ({ seenMillisAgo }) => secondsAgo(seenMillisAgo)
                }
              ]}
            />
          )
        }
      </Answered>
    </>
  )
}

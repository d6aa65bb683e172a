/** One sandbox: its state, logs, jobs, files, and a terminal. */
import type { JSX } from "preact"
import { useEffect, useState } from "preact/hooks"
import type { Entry, Job, Problem as ProblemModel, Sandbox } from "../protocol.ts"
import * as Connection from "./connection.ts"
import { bytes, duration, mode, oneLine, plain, plainLine } from "./format.ts"
import {
  Age,
  Answered,
  Confirm,
  Empty,
  Facts,
  Loading,
  Problem,
  Sparkline,
  State,
  Status,
  Tabs,
  useAnswer,
  useNow
} from "./parts.tsx"
import { FollowedLog } from "./rows.tsx"
import { useStore } from "./store.ts"
import { EndedNamed } from "./ended.tsx"
import { Terminal } from "./terminal.tsx"

const tabs = ["overview", "logs", "jobs", "files", "terminal"] as const

type Tab = (typeof tabs)[number]

/** Where the page shows a sandbox. */
export const hrefOf = (name: string, tab: Tab = "overview"): string =>
  `#/sandboxes/${encodeURIComponent(name)}${tab === "overview" ? "" : `/${tab}`}`

// =============================================================================
// Overview
// =============================================================================

const Forward = ({ name }: { readonly name: string }) => {
  const [port, setPort] = useState("")
  const [open, setOpen] = useState<ReadonlyArray<number>>([])
  const number = Number(port)
  const isPort = Number.isInteger(number) && number > 0 && number < 65_536
  return (
    <>
      <ul class="plain">
        {open.map((one) => (
          <Forwarded
            key={one}
            name={name}
            port={one}
            onClose={() => setOpen((before) => before.filter((other) => other !== one))}
          />
        ))}
      </ul>
      <form
        class="inline"
        onSubmit={(event) => {
          event.preventDefault()
          if (!isPort) return
          setOpen((before) => (before.includes(number) ? before : [...before, number]))
          setPort("")
        }}
      >
        <label for="forward">Open a port of the guest</label>
        <input
          id="forward"
          inputMode="numeric"
          size={6}
          placeholder="3000"
          value={port}
          onInput={({ currentTarget }) => setPort(currentTarget.value)}
        />
        <button type="submit" disabled={!isPort}>
          Open
        </button>
      </form>
    </>
  )
}

const Forwarded = ({
  name,
  onClose,
  port
}: {
  readonly name: string
  readonly port: number
  readonly onClose: () => void
}) => {
  const [url, setUrl] = useState<string>()
  const [problem, setProblem] = useState<ProblemModel>()
  useEffect(
    () =>
      Connection.follow(
        "forward",
        { name, port },
        { values: (values) => setUrl(values.at(-1)?.url), end: onClose, problem: setProblem }
      ),
    [name, port]
  )
  if (problem !== undefined) return <Problem of={problem} />
  return (
    <li>
      {url === undefined ? (
        <Loading what={`Opening port ${port}`} />
      ) : (
        <>
          <a href={url} target="_blank" rel="noreferrer">
            {url}
          </a>{" "}
          → {port}, while this page is open{" "}
          <button type="button" class="small" onClick={onClose}>
            Close
          </button>
        </>
      )}
    </li>
  )
}

const Overview = ({ sandbox }: { readonly sandbox: Sandbox }) => {
  const { usages } = useStore()
  const now = useNow()
  const { cpus, cwd, id, image, labels, memory, name, ports, shell, snapshot, status, volumes } = sandbox
  const usage = usages.get(id)
  return (
    <>
      {usage === undefined ? null : (
        <div class="meters">
          <figure>
            <figcaption>
              Processor <b>{usage.last.cpuPercent.toFixed(1)} %</b>
            </figcaption>
            <Sparkline label="Processor use over the last two minutes" of={usage.cpu} limit={100} />
          </figure>
          <figure>
            <figcaption>
              Memory <b>{bytes(usage.last.memory)}</b> of {bytes(usage.last.memoryLimit)}
            </figcaption>
            <Sparkline label="Memory use over the last two minutes" of={usage.memory} limit={usage.last.memoryLimit} />
          </figure>
          <figure>
            <figcaption>Disk</figcaption>
            <p>
              <b>{bytes(usage.last.diskRead)}</b> read, <b>{bytes(usage.last.diskWritten)}</b> written
            </p>
          </figure>
          <figure>
            <figcaption>Network</figcaption>
            <p>
              <b>{bytes(usage.last.networkReceived)}</b> received, <b>{bytes(usage.last.networkSent)}</b> sent
            </p>
          </figure>
        </div>
      )}
      <Facts
        of={[
          ["Snapshot", snapshot],
          ["Image", image],
          ["Size", `${cpus} ${cpus === 1 ? "CPU" : "CPUs"}, ${bytes(memory)}`],
          ["Up", usage === undefined ? undefined : duration(usage.last.uptime)],
          ["Created", sandbox.createdAt === undefined ? undefined : <Age key="at" at={sandbox.createdAt} now={now} />],
          ["Folder", cwd === undefined ? undefined : <code key="cwd">{cwd}</code>],
          ["Shell", <code key="shell">{shell}</code>],
          [
            "Volumes",
            volumes.length === 0
              ? undefined
              : volumes.map((volume) => (
                  <a key={volume} href="#/volumes">
                    {volume}
                  </a>
                ))
          ],
          [
            "Labels",
            Object.entries(labels).length === 0
              ? undefined
              : Object.entries(labels).map(([key, value]) => (
                  <code key={key} class="label">
                    {key}={value}
                  </code>
                ))
          ],
          ["Id", <code key="id">{id}</code>]
        ]}
      />
      <section aria-labelledby="ports">
        <h2 id="ports">Ports</h2>
        <ul class="plain">
          {ports.map(({ bind, guest, host, protocol }) => (
            <li key={`${protocol}${host}`}>
              {protocol === "tcp" ? (
                <a href={`http://${bind.includes(":") ? `[${bind}]` : bind}:${host}`} target="_blank" rel="noreferrer">
                  {bind}:{host}
                </a>
              ) : (
                `${bind}:${host}`
              )}{" "}
              → {guest}/{protocol}
            </li>
          ))}
        </ul>
        {ports.length === 0 ? <p class="quiet">No port is published.</p> : null}
        {status === "running" ? <Forward name={name} /> : null}
      </section>
    </>
  )
}

// =============================================================================
// Logs
// =============================================================================

const Logs = ({ name, status }: Sandbox) => {
  const [hasSystem, setSystem] = useState(false)
  return (
    <>
      <label class="check">
        <input type="checkbox" checked={hasSystem} onChange={({ currentTarget }) => setSystem(currentTarget.checked)} />{" "}
        Messages of the kernel and the runtime
      </label>
      <FollowedLog
        label={`Log of ${name}`}
        tag="logs"
        payload={{ name, system: hasSystem }}
        adder={(lines) => (entries) => {
          for (const { source, text } of entries) lines.add(text, source === "output" ? "stdout" : source)
        }}
        again={status === "running"}
      />
    </>
  )
}

// =============================================================================
// Jobs
// =============================================================================

const Jobs = ({ name }: Sandbox) => {
  const [jobs, setJobs] = useState<ReadonlyArray<Job>>()
  const [problem, setProblem] = useState<ProblemModel>()
  const [open, setOpen] = useState<string>()
  const now = useNow()
  useEffect(
    () => Connection.follow("jobs", { name }, { values: (values) => setJobs(values.at(-1)), problem: setProblem }),
    [name]
  )
  if (problem !== undefined) return <Problem of={problem} />
  if (jobs === undefined) return <Loading />
  if (jobs.length === 0) {
    return (
      <Empty title="There are no jobs.">
        <p>
          Jobs are commands that outlive their connection: <code>lightbox job start {name} -- COMMAND</code>.
        </p>
      </Empty>
    )
  }
  return (
    <ul class="items">
      {jobs.map((job) => {
        const isOpen = open === job.id
        return (
          <li key={job.id}>
            <button
              type="button"
              class="summary"
              aria-expanded={isOpen}
              onClick={() => setOpen(isOpen ? undefined : job.id)}
            >
              <span class="name">{job.id}</span>
              <State word={job.status} tone={{ running: "busy", succeeded: "good", failed: "bad" }[job.state]} />
              <code class="what">{oneLine(job.argv.join(" "))}</code>
              <Age at={job.startedAt} now={now} />
            </button>
            {isOpen ? (
              <FollowedLog
                label={`Output of job ${job.id}`}
                tag="jobLog"
                payload={{ name, id: job.id }}
                adder={(lines) => (text) => lines.add(text)}
              />
            ) : null}
          </li>
        )
      })}
    </ul>
  )
}

// =============================================================================
// Files
// =============================================================================

const join = (folder: string, name: string): string => `${folder === "/" ? "" : folder}/${name}`

const parentOf = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf("/")))

const FileView = ({
  name,
  onFolder,
  path
}: {
  readonly name: string
  readonly path: string
  /** It is a link to this folder. */
  readonly onFolder: (path: string) => void
}) => {
  const [answer] = useAnswer("file", { name, path })
  const folder = answer._tag === "Value" ? answer.value.folder : undefined
  useEffect(() => {
    if (folder !== undefined) onFolder(folder)
  }, [folder])
  return (
    <Answered of={answer}>
      {({ folder, isComplete, isText, text }) =>
        folder !== undefined ? null : isText ? (
          <>
            {isComplete ? null : <p class="quiet">Only the beginning is shown.</p>}
            <pre class="file" tabIndex={0} aria-label={plainLine(path)}>
              {text === "" ? "(empty)" : plain(text)}
            </pre>
          </>
        ) : (
          <p class="quiet">
            This is not text. Copy it with <code>lightbox cp {`${name}:${plainLine(path)}`} .</code>
          </p>
        )
      }
    </Answered>
  )
}

const Files = ({ cwd, name }: Sandbox) => {
  const [folder, setFolder] = useState(cwd ?? "/")
  const [file, setFile] = useState<string>()
  const [answer, again] = useAnswer("files", { name, path: folder })
  const parts = folder.split("/").filter((part) => part !== "")
  const go = (path: string) => {
    setFolder(path)
    setFile(undefined)
  }
  const order = (entries: ReadonlyArray<Entry>) =>
    entries.toSorted(
      (a, b) => Number(b.type === "Directory") - Number(a.type === "Directory") || a.name.localeCompare(b.name)
    )
  return (
    <>
      <div class="crumbs" role="navigation" aria-label="Folder">
        <button type="button" class="link" onClick={() => go("/")}>
          /
        </button>
        {parts.map((part, at) => (
          <button
            key={`${at}${part}`}
            type="button"
            class="link"
            onClick={() => go(`/${parts.slice(0, at + 1).join("/")}`)}
          >
            {plainLine(part)}
          </button>
        ))}
        <button type="button" class="small" onClick={again}>
          Read again
        </button>
      </div>
      <div class={file === undefined ? "files" : "files two"}>
        <Answered of={answer}>
          {({ entries, isComplete }) => (
            <ul class="entries" aria-label={`Files in ${plainLine(folder)}`}>
              {folder === "/" ? null : (
                <li>
                  <button type="button" class="entry" onClick={() => go(parentOf(folder))}>
                    <span class="name">..</span>
                  </button>
                </li>
              )}
              {order(entries).map(({ gid, mode: bits, name: entry, size, type, uid }) => {
                const path = join(folder, entry)
                const isFolder = type === "Directory"
                return (
                  <li key={entry}>
                    <button
                      type="button"
                      class={isFolder ? "entry folder" : "entry"}
                      aria-pressed={isFolder ? undefined : file === path}
                      onClick={() => (isFolder ? go(path) : setFile(path))}
                    >
                      <span class="name">
                        {plainLine(entry)}
                        {isFolder ? "/" : ""}
                      </span>
                      <span class="quiet">{isFolder ? "" : bytes(size)}</span>
                      <code class="quiet wide">{mode(bits, type)}</code>
                      <span class="quiet wide">
                        {uid}:{gid}
                      </span>
                    </button>
                  </li>
                )
              })}
              {entries.length === 0 ? <li class="quiet">The folder is empty.</li> : null}
              {isComplete ? null : <li class="quiet">There are more files than are shown.</li>}
            </ul>
          )}
        </Answered>
        {file === undefined ? null : <FileView key={file} name={name} path={file} onFolder={go} />}
      </div>
    </>
  )
}

// =============================================================================
// View
// =============================================================================

export const SandboxView = ({ name, tab: wanted }: { readonly name: string; readonly tab: string }): JSX.Element => {
  const { isReady, sandboxes } = useStore()
  const [isAsking, setAsking] = useState(false)
  const [isStopping, setStopping] = useState(false)
  const [problem, setProblem] = useState<ProblemModel>()
  const sandbox = sandboxes.find((one) => one.name === name)
  const tab: Tab = tabs.find((one) => one === wanted) ?? "overview"
  if (!isReady) return <Loading />
  if (sandbox === undefined) {
    return (
      <Empty title={`There is no sandbox named "${name}".`}>
        <EndedNamed name={name} />
        <p>
          <a href="#/sandboxes">All sandboxes</a>, <a href="#/ended">ended sandboxes</a>
        </p>
      </Empty>
    )
  }
  const { id, status } = sandbox
  const isRunning = status === "running"
  const stop = () => {
    setStopping(true)
    setProblem(undefined)
    Connection.request("stop", { name, id })
      .catch((error: unknown) => setProblem(Connection.problemOf(error)))
      .finally(() => setStopping(false))
  }
  return (
    <>
      <header class="title">
        <p class="path">
          <a href="#/sandboxes">Sandboxes</a>
        </p>
        <h1>{name}</h1>
        <Status of={status} />
        {isRunning ? (
          <button type="button" class="end" disabled={isStopping} onClick={() => setAsking(true)}>
            {isStopping ? "Stopping…" : "Stop"}
          </button>
        ) : null}
      </header>
      {problem === undefined ? null : <Problem of={problem} />}
      {isAsking ? (
        <Confirm title={`Stop ${name}?`} action="Stop" onConfirm={stop} onClose={() => setAsking(false)}>
          <p>Its processes end. An ephemeral sandbox is removed, others keep their disk.</p>
        </Confirm>
      ) : null}
      <Tabs
        label={`Views of ${name}`}
        of={tabs.map((one) => ({
          href: hrefOf(name, one),
          title: `${one[0]?.toUpperCase() ?? ""}${one.slice(1)}`,
          isCurrent: one === tab
        }))}
      />
      {tab === "overview" ? (
        <Overview sandbox={sandbox} />
      ) : tab === "logs" ? (
        <Logs {...sandbox} key={id} />
      ) : !isRunning ? (
        <Empty title="The sandbox does not run." />
      ) : tab === "jobs" ? (
        <Jobs {...sandbox} key={id} />
      ) : tab === "files" ? (
        <Files {...sandbox} key={id} />
      ) : (
        <Terminal name={name} key={id} />
      )}
    </>
  )
}

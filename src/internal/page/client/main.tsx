/** The page: its views, and which of them is shown. */
import type { JSX } from "preact"
import { render } from "preact"
import { useEffect, useState } from "preact/hooks"
import { BuildView } from "./build.tsx"
import { Builds } from "./builds.tsx"
import * as Connection from "./connection.ts"
import { Doctor } from "./doctor.tsx"
import { EndedList, EndedView } from "./ended.tsx"
import { Hosts } from "./hosts.tsx"
import { paths } from "./names.ts"
import { Empty } from "./parts.tsx"
import { Sandboxes } from "./sandboxes.tsx"
import { SandboxView } from "./sandbox.tsx"
import { Snapshots } from "./snapshots.tsx"
import { listen, useStore } from "./store.ts"
import { Volumes } from "./volumes.tsx"

const views = [
  ["builds", "Builds"],
  ["sandboxes", "Sandboxes"],
  ["snapshots", "Snapshots"],
  ["volumes", "Volumes"],
  ["hosts", "Hosts"],
  ["doctor", "Doctor"]
] as const

const decode = (part: string): string => {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

const routeOf = (): ReadonlyArray<string> => {
  const parts = location.hash
    .replace(/^#\/?/, "")
    .split("/")
    .filter((part) => part !== "")
    .map(decode)
  return parts.length === 0 ? ["builds"] : parts
}

const useRoute = (): ReadonlyArray<string> => {
  const [route, setRoute] = useState(routeOf())
  useEffect(() => {
    const onChange = () => setRoute(routeOf())
    addEventListener("hashchange", onChange)
    return () => removeEventListener("hashchange", onChange)
  }, [])
  return route
}

const View = ({ route: [view, name, tab = ""] }: { readonly route: ReadonlyArray<string> }): JSX.Element => {
  switch (view) {
    case "builds":
      return name === undefined ? <Builds /> : <BuildView id={name} />
    case "sandboxes":
      return name === undefined ? <Sandboxes /> : <SandboxView name={name} tab={tab} key={name} />
    case "ended":
      return name === undefined ? <EndedList /> : <EndedView id={name} />
    case "snapshots":
      return <Snapshots />
    case "volumes":
      return <Volumes />
    case "hosts":
      return <Hosts />
    case "doctor":
      return <Doctor />
    default:
      return (
        <Empty title="There is no such view.">
          <p>
            <a href="#/builds">Builds</a>
          </p>
        </Empty>
      )
  }
}

const Page = (): JSX.Element => {
  const route = useRoute()
  const { connection, hello, sandboxes, stopped } = useStore()
  const [wanted, name] = route
  // Those that have ended belong to the sandboxes.
  const view = wanted === "ended" ? "sandboxes" : wanted
  const isLive = connection === "open" && stopped === undefined
  const title = views.find(([key]) => key === view)?.[1] ?? "Lightbox"
  useEffect(() => {
    document.title = `${name ?? title} · Lightbox`
  }, [name, title])
  const running = sandboxes.filter(({ status }) => status === "running").length
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault()
          document.querySelector<HTMLElement>("main")?.focus()
        }}
      >
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="#/builds">
          <img src={`${paths.assets}icon.svg`} width="20" height="20" alt="" />
          Lightbox
        </a>
        <nav aria-label="Views">
          {views
            // Only a fleet has hosts.
            .filter(([key]) => key !== "hosts" || hello?.backend === "fleet")
            .map(([key, word]) => (
              <a key={key} href={`#/${key}`} aria-current={key === view ? "page" : undefined}>
                {word}
                {key === "sandboxes" && running > 0 ? <span class="badge">{running.toLocaleString()}</span> : null}
              </a>
            ))}
        </nav>
        <p class="home" title={hello?.home}>
          <span class={`state ${isLive ? "good" : "warn"}`}>
            <span class="dot" aria-hidden="true" />
            {isLive ? "live" : { open: "not live", lost: "not connected", connecting: "connecting" }[connection]}
          </span>
        </p>
      </header>
      {connection === "lost" ? (
        <p class="banner" role="status">
          Not connected, trying again. If <code>lightbox ui</code> has ended, start it again and open its new link.
        </p>
      ) : stopped !== undefined ? (
        <p class="banner" role="status">
          Nothing is updated for now, trying again. {stopped}
        </p>
      ) : null}
      <main id="main" tabIndex={-1} class={name === undefined ? `view ${view}` : `view one ${view}`}>
        <View route={route} />
      </main>
    </>
  )
}

// "/" leads to the search of the view.
addEventListener("keydown", (event) => {
  const target = event.target
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return
  if (target instanceof HTMLElement && target.closest("input, textarea, select, .shell") !== null) return
  const search = document.querySelector<HTMLElement>("main input[type=search]")
  if (search === null) return
  event.preventDefault()
  search.focus()
})

const root = document.querySelector("#page")
if (root !== null) {
  listen()
  Connection.open()
  render(<Page />, root)
}

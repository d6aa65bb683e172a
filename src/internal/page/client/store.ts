/** What the page knows: the lists, as the server tells their changes. */
import { useEffect, useReducer } from "preact/hooks"
import type { Build, Change, Sandbox, Usage } from "../protocol.ts"
import * as Connection from "./connection.ts"

/** Samples of a sandbox that are kept, one a second. */
const samples = 120

/** The use of a sandbox over time. */
export interface History {
  readonly last: Usage
  readonly cpu: ReadonlyArray<number>
  readonly memory: ReadonlyArray<number>
}

type Hello = Extract<Change, { readonly _tag: "Hello" }>

export const store = {
  hello: undefined as Hello | undefined,
  connection: "connecting" as Connection.State,
  isReady: false,
  /** Why the server tells no changes for now, if it does not. */
  stopped: undefined as string | undefined,
  trouble: new Map<string, string>(),
  builds: [] as ReadonlyArray<Build>,
  sandboxes: [] as ReadonlyArray<Sandbox>,
  usages: new Map<string, History>()
}

const builds = new Map<string, Build>()
const sandboxes = new Map<string, Sandbox>()

const listeners = new Set<() => void>()
let isScheduled = false

/** Draws once for all changes of a frame. */
const changed = (): void => {
  if (isScheduled) return
  isScheduled = true
  requestAnimationFrame(() => {
    isScheduled = false
    for (const listener of listeners) listener()
  })
}

/** Draws the component again when something has changed. */
export const useStore = (): typeof store => {
  const [, draw] = useReducer((count: number) => count + 1, 0)
  useEffect(() => {
    const listener = () => draw(undefined)
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }, [])
  return store
}

/** Makes "worker-10" follow "worker-9". */
const names = new Intl.Collator(undefined, { numeric: true })

const order: { readonly [status: string]: number } = { running: 0, starting: 1, draining: 1, paused: 2, crashed: 3 }

/** What a sandbox used last says nothing once it does not run. */
const forgetUnlessRunning = (id: string): void => {
  if (sandboxes.get(id)?.status !== "running") store.usages.delete(id)
}

const apply = (change: Change): void => {
  switch (change._tag) {
    case "Hello":
      store.hello = change
      break
    case "Ready":
      store.isReady = true
      // They ended while nothing was told.
      for (const id of store.usages.keys()) forgetUnlessRunning(id)
      break
    case "Trouble":
      store.trouble.set(change.of, change.problem)
      break
    case "Recovered":
      store.trouble.delete(change.of)
      break
    case "Builds":
      for (const id of change.removed) builds.delete(id)
      for (const build of change.changed) builds.set(build.id, build)
      break
    case "Sandboxes":
      for (const id of change.removed) {
        sandboxes.delete(id)
        store.usages.delete(id)
      }
      for (const sandbox of change.changed) {
        sandboxes.set(sandbox.id, sandbox)
        forgetUnlessRunning(sandbox.id)
      }
      break
    case "Usages":
      for (const id of change.removed) store.usages.delete(id)
      for (const usage of change.usages) {
        const known = store.usages.get(usage.id)
        // After a restart, the samples are those of another run.
        const before = known !== undefined && known.last.uptime <= usage.uptime ? known : undefined
        store.usages.set(usage.id, {
          last: usage,
          cpu: [...(before?.cpu ?? []), usage.cpuPercent].slice(-samples),
          memory: [...(before?.memory ?? []), usage.memory].slice(-samples)
        })
      }
  }
}

const restart = (): void => {
  builds.clear()
  sandboxes.clear()
  store.trouble.clear()
}

/** Milliseconds after which the server is asked again. */
const pause = 2000

const watch = (): void => {
  const onEnd = (problem: string): void => {
    store.stopped = problem
    changed()
    setTimeout(watch, pause)
  }
  restart()
  Connection.follow("watch", undefined, {
    restart,
    end: () => onEnd("The server has stopped telling what changes."),
    problem: ({ problem }) => onEnd(problem),
    values: (values) => {
      store.stopped = undefined
      values.forEach(apply)
      const tags = new Set(values.map(({ _tag }) => _tag))
      // Nothing flickers while the lists come in again.
      if (tags.has("Builds") || tags.has("Ready")) {
        store.builds = [...builds.values()].toSorted((a, b) => b.startedAt - a.startedAt)
      }
      if (tags.has("Sandboxes") || tags.has("Ready")) {
        store.sandboxes = [...sandboxes.values()].toSorted(
          (a, b) => (order[a.status] ?? 4) - (order[b.status] ?? 4) || names.compare(a.name, b.name)
        )
      }
      changed()
    }
  })
}

/** Begins to listen. */
export const listen = (): void => {
  Connection.onState((state) => {
    store.connection = state
    changed()
  })
  watch()
}

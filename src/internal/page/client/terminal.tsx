/** A shell in a sandbox. The library that draws it is loaded when it is needed. */
import type { JSX } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import type { Problem as ProblemModel } from "../protocol.ts"
import * as Connection from "./connection.ts"
import { cut } from "./format.ts"
import { paths } from "./names.ts"
import { Problem } from "./parts.tsx"

/** Characters that are sent at once. */
const most = 8 * 1024

const bytesOf = (base64: string): Uint8Array => Uint8Array.from(atob(base64), (letter) => letter.codePointAt(0) ?? 0)

/** The id of the text that says how to leave. */
const help = "terminal-help"

const isLeaving = ({ ctrlKey, key, shiftKey }: KeyboardEvent): boolean => ctrlKey && shiftKey && key === "ArrowUp"

const loadStyle = (): void => {
  if (document.querySelector("link[data-xterm]") !== null) return
  const link = document.createElement("link")
  link.rel = "stylesheet"
  link.href = `${paths.assets}xterm.css`
  link.dataset["xterm"] = ""
  document.head.append(link)
}

const colors = { background: "#16181d", foreground: "#dfe3ea", cursor: "#dfe3ea", selectionBackground: "#3b5bdb88" }

export const Terminal = ({ name }: { readonly name: string }): JSX.Element => {
  const box = useRef<HTMLDivElement>(null)
  const [round, setRound] = useState(0)
  const [ended, setEnded] = useState<ProblemModel | "shell">()
  useEffect(() => {
    let isOver = false
    const finalizers: Array<() => void> = []
    const start = async () => {
      loadStyle()
      const [{ Terminal }, { FitAddon }] = await Promise.all([import("@xterm/xterm"), import("@xterm/addon-fit")])
      const element = box.current
      if (isOver || element === null) return
      const terminal = new Terminal({
        fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
        fontSize: 13,
        cursorBlink: false,
        scrollback: 10_000,
        screenReaderMode: true,
        theme: colors
      })
      const fit = new FitAddon()
      terminal.loadAddon(fit)
      // All other keys go to the guest, also Tab: without this one, the keyboard would not come out of it.
      terminal.attachCustomKeyEventHandler((event) => {
        if (!isLeaving(event)) return true
        event.preventDefault()
        if (event.type === "keydown") document.querySelector<HTMLElement>(".tabs [aria-current]")?.focus()
        return false
      })
      terminal.open(element)
      terminal.textarea?.setAttribute("aria-describedby", help)
      fit.fit()
      terminal.focus()
      const id = crypto.randomUUID()
      // One part after the other, as they were typed.
      let typing: Promise<unknown> = Promise.resolve()
      const type = (text: string) => {
        for (const part of cut(text, most)) {
          typing = typing.then(() => Connection.request("type", { id, text: part })).catch(() => {})
        }
      }
      const stop = Connection.follow(
        "terminal",
        { name, id, rows: terminal.rows, columns: terminal.cols },
        {
          // The shell ends with the connection.
          isLasting: false,
          values: (values) => values.forEach((piece) => terminal.write(bytesOf(piece))),
          end: () => setEnded("shell"),
          problem: setEnded
        }
      )
      const typed = terminal.onData(type)
      const resized = terminal.onResize(({ cols, rows }) => {
        Connection.request("resize", { id, rows, columns: cols }).catch(() => {})
      })
      const observer = new ResizeObserver(() => fit.fit())
      observer.observe(element)
      finalizers.push(
        stop,
        () => typed.dispose(),
        () => resized.dispose(),
        () => observer.disconnect(),
        () => terminal.dispose()
      )
    }
    start().catch((error: unknown) => setEnded(Connection.problemOf(error)))
    return () => {
      isOver = true
      for (const end of finalizers) end()
    }
  }, [name, round])
  return (
    <>
      {ended === undefined ? null : (
        <div class="again">
          {ended === "shell" ? <p>The shell has ended.</p> : <Problem of={ended} />}
          <button
            type="button"
            onClick={() => {
              setEnded(undefined)
              setRound((count) => count + 1)
            }}
          >
            Open another one
          </button>
        </div>
      )}
      <p class="quiet" id={help}>
        Keys go to the shell; <kbd>Ctrl</kbd>+<kbd>Shift</kbd>+<kbd>↑</kbd> leaves the terminal. The shell ends when you
        leave this view.
      </p>
      <div class="shell" ref={box} role="region" aria-label={`Terminal in ${name}`} aria-describedby={help} />
    </>
  )
}

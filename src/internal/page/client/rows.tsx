/** Long lists: only the rows that are seen are drawn. */
import type { ComponentChildren, JSX } from "preact"
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks"
import type { Problem as ProblemModel } from "../protocol.ts"
import * as Connection from "./connection.ts"
import { plural } from "./format.ts"
import { type Line, Lines } from "./lines.ts"
import { Problem, Search } from "./parts.tsx"

/** Rows drawn above and below what is seen. */
const overscan = 12

interface View {
  readonly from: number
  readonly to: number
}

/** Finds which rows of a scrolled element are seen. */
const useView = (count: number, rowHeight: number) => {
  const box = useRef<HTMLDivElement>(null)
  const [view, setView] = useState<View>({ from: 0, to: 60 })
  const measure = useCallback(() => {
    const element = box.current
    if (element === null) return
    const from = Math.max(0, Math.floor(element.scrollTop / rowHeight) - overscan)
    const to = Math.ceil((element.scrollTop + element.clientHeight) / rowHeight) + overscan
    setView((before) => (before.from === from && before.to === to ? before : { from, to }))
  }, [rowHeight])
  useLayoutEffect(measure, [count, measure])
  useEffect(() => {
    const element = box.current
    if (element === null) return undefined
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    return () => observer.disconnect()
  }, [measure])
  return { box, measure, from: Math.min(view.from, count), to: Math.min(view.to, count) }
}

export interface Column<Row> {
  readonly title: string
  /** Its width, as of a track of a grid. */
  readonly width: string
  readonly cell: (row: Row) => ComponentChildren
  /** Left out where there is little room. */
  readonly isWide?: boolean
  readonly isNumber?: boolean
}

/** Pixels. */
const rowHeight = 44

/**
 * A table of rows that lead somewhere. The first cell is a link that covers the row; arrow keys, Home and End go from row to
 * row.
 */
export const Table = <Row,>({
  columns,
  href,
  keyOf,
  label,
  rows
}: {
  readonly label: string
  readonly rows: ReadonlyArray<Row>
  readonly keyOf: (row: Row) => string
  readonly href?: (row: Row) => string
  readonly columns: ReadonlyArray<Column<Row>>
}): JSX.Element => {
  const { box, from, measure, to } = useView(rows.length, rowHeight)
  const style = {
    "--columns": columns.map(({ width }) => width).join(" "),
    "--narrow": columns
      .filter(({ isWide }) => isWide !== true)
      .map(({ width }) => width)
      .join(" ")
  }
  const focus = (index: number) => {
    const element = box.current
    if (element === null || index < 0 || index >= rows.length) return
    const [top, bottom] = [index * rowHeight, (index + 1) * rowHeight]
    if (top < element.scrollTop) element.scrollTop = top
    else if (bottom > element.scrollTop + element.clientHeight) element.scrollTop = bottom - element.clientHeight
    measure()
    // It is drawn by then.
    requestAnimationFrame(() =>
      requestAnimationFrame(() => element.querySelector<HTMLElement>(`[data-index="${index}"] a`)?.focus())
    )
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const row = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-index]") : null
    const at = Number(row?.dataset["index"] ?? -1)
    const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key]
    if (target === undefined || href === undefined) return
    event.preventDefault()
    focus(target)
  }
  const classOf = ({ isNumber, isWide }: Column<Row>) =>
    `cell${isWide === true ? " wide" : ""}${isNumber === true ? " number" : ""}`
  return (
    <div class="table" role="table" aria-label={label} aria-rowcount={rows.length + 1} style={style}>
      <div role="rowgroup">
        <div class="row head" role="row" aria-rowindex={1}>
          {columns.map((column) => (
            <div key={column.title} class={classOf(column)} role="columnheader">
              {column.title}
            </div>
          ))}
        </div>
      </div>
      <div
        class="scroll"
        role="rowgroup"
        tabIndex={0}
        aria-label={label}
        ref={box}
        onScroll={measure}
        onKeyDown={onKeyDown}
      >
        <div role="presentation" class="space" style={{ height: `${rows.length * rowHeight}px` }}>
          {rows.slice(from, to).map((row, position) => (
            <div
              key={keyOf(row)}
              class={href === undefined ? "row" : "row leads"}
              role="row"
              aria-rowindex={from + position + 2}
              data-index={from + position}
              style={{ top: `${(from + position) * rowHeight}px` }}
            >
              {columns.map((column, index) => (
                <div key={column.title} class={classOf(column)} role="cell">
                  {index === 0 && href !== undefined ? (
                    <a href={href(row)} class="cover">
                      {column.cell(row)}
                    </a>
                  ) : (
                    column.cell(row)
                  )}
                </div>
              ))}
            </div>
          ))}
        </div>
      </div>
    </div>
  )
}

/** Pixels. */
const lineHeight = 20

/** A log that can be searched. It stays at its end while it grows, unless one has scrolled back. */
export const Log = ({
  isOver,
  label,
  lines,
  version
}: {
  readonly label: string
  readonly lines: Lines
  /** Changes when lines are added. */
  readonly version: number
  /** Nothing will be added. */
  readonly isOver: boolean
}): JSX.Element => {
  const [query, setQuery] = useState("")
  const wanted = query.toLowerCase()
  const found = useRef<{ query: string; of: ReadonlyArray<Line>; seen: number; lines: Array<Line> }>(null)
  let shown: ReadonlyArray<Line> = lines.all
  if (wanted !== "") {
    const before = found.current
    // Only what is new has to be looked at.
    const last =
      before !== null && before.query === wanted && before.of === lines.all
        ? before
        : { query: wanted, of: lines.all, seen: 0, lines: [] }
    for (; last.seen < lines.all.length; last.seen++) {
      const line = lines.all[last.seen]
      if (line !== undefined && line.text.toLowerCase().includes(wanted)) last.lines.push(line)
    }
    found.current = last
    shown = last.lines
  }
  const { box, from, measure, to } = useView(shown.length, lineHeight)
  const isAtEnd = useRef(true)
  useLayoutEffect(() => {
    const element = box.current
    if (element !== null && isAtEnd.current) {
      element.scrollTop = element.scrollHeight
      measure()
    }
  }, [version, shown.length])
  const onScroll = () => {
    const element = box.current
    if (element !== null) {
      isAtEnd.current = element.scrollTop + element.clientHeight >= element.scrollHeight - 2 * lineHeight
    }
    measure()
  }
  const longest = shown.slice(from, to).reduce((most, { text }) => Math.max(most, text.length), 0)
  return (
    <div class="log">
      <div class="bar">
        <Search label="Find in the log" value={query} onChange={setQuery} />
        <span class="count">
          {wanted === ""
            ? plural(lines.all.length, "line")
            : `${shown.length.toLocaleString()} of ${plural(lines.all.length, "line")}`}
          {isOver ? "" : ", live"}
        </span>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label={label} ref={box} onScroll={onScroll}>
        {shown.length === 0 ? (
          <p class="nothing">{wanted === "" ? (isOver ? "No output." : "No output yet.") : "No line has this text."}</p>
        ) : (
          <div class="space" style={{ height: `${shown.length * lineHeight}px`, minWidth: `${longest + 8}ch` }}>
            {shown.slice(from, to).map(({ kind, text }, position) => (
              <div key={from + position} class={`line ${kind}`} style={{ top: `${(from + position) * lineHeight}px` }}>
                <span class="at" aria-hidden="true">
                  {wanted === "" ? from + position + 1 + lines.dropped : ""}
                </span>
                <span class="text">{text}</span>
              </div>
            ))}
          </div>
        )}
      </div>
    </div>
  )
}

/** Follows a log and shows it, or why there is none. */
export const FollowedLog = <T extends Connection.Tag>({
  adder,
  again,
  isOver = false,
  label,
  payload,
  tag
}: {
  readonly label: string
  readonly tag: T
  readonly payload: Connection.Payload<T>
  /** Makes what adds values to the lines, each time that they come from the beginning. */
  readonly adder: (lines: Lines) => (value: Connection.Value<T>) => void
  /** Nothing will be added, also if the stream has not ended yet. Default: `false`. */
  readonly isOver?: boolean
  /** When this changes, it is followed from the beginning again. */
  readonly again?: unknown
}): JSX.Element => {
  const [lines] = useState(() => new Lines())
  const [version, setVersion] = useState(0)
  const [hasEnded, setEnded] = useState(false)
  const [problem, setProblem] = useState<ProblemModel>()
  useEffect(() => {
    let add = adder(lines)
    lines.clear()
    setEnded(false)
    setProblem(undefined)
    return Connection.follow(tag, payload, {
      restart: () => {
        lines.clear()
        add = adder(lines)
      },
      values: (values) => {
        for (const value of values) add(value)
        setVersion((before) => before + 1)
      },
      end: () => {
        lines.flush()
        setEnded(true)
      },
      problem: setProblem
    })
  }, [tag, JSON.stringify(payload), again])
  return problem === undefined ? (
    <Log label={label} lines={lines} version={version} isOver={hasEnded || isOver} />
  ) : (
    <Problem of={problem} />
  )
}

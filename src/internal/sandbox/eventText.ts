/**
 * The output of a command as text.
 */
import * as Stream from "effect/Stream"
import type { ExecEvent, ExecTextEvent } from "../../Sandbox.ts"

export const decode = <E, R>(
  events: Stream.Stream<ExecEvent, E, R>,
  options: { readonly lines: boolean }
): Stream.Stream<ExecTextEvent, E, R> =>
  Stream.suspend(() => {
    const decoders = { Stdout: new TextDecoder(), Stderr: new TextDecoder() }
    const rests = { Stdout: "", Stderr: "" }

    const pieces = (_tag: "Stdout" | "Stderr", text: string, isLast: boolean): ReadonlyArray<ExecTextEvent> => {
      if (!options.lines) return text === "" ? [] : [{ _tag, text }]
      const lines = (rests[_tag] + text).split(/\r?\n/)
      rests[_tag] = lines.pop() ?? ""
      if (isLast && rests[_tag] !== "") lines.push(rests[_tag])
      return lines.map((line) => ({ _tag, text: line }))
    }

    return Stream.flattenIterable(
      Stream.map(events, (event): ReadonlyArray<ExecTextEvent> => {
        switch (event._tag) {
          case "Started":
            return [event]
          case "Exited":
            return [
              ...pieces("Stdout", decoders.Stdout.decode(), true),
              ...pieces("Stderr", decoders.Stderr.decode(), true),
              event
            ]
          default:
            return pieces(event._tag, decoders[event._tag].decode(event.bytes, { stream: true }), false)
        }
      })
    )
  })

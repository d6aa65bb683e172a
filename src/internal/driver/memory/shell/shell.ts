/** The shell: runs parsed scripts in a process. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { toBytes } from "../kernel/byteString.ts"
import { type Description, fromBytes, Pipe } from "../kernel/description.ts"
import { Errno, errno } from "../kernel/errno.ts"
import { type ExitStatus, type Process, type Program, toEnd } from "../kernel/process.ts"
import { describe as describeSignal } from "../kernel/signals.ts"
import * as Arithmetic from "./arithmetic.ts"
import { builtins } from "./builtins.ts"
import { Jump, type Outcome, untilReturn } from "./outcome.ts"
import { expandPath, matches, type Segment, textOf, toRegExpSource } from "./pattern.ts"
import * as Syntax from "./syntax.ts"

interface Variable {
  value: string | undefined
  isExported: boolean
  isReadonly: boolean
}

const usageError = 2

const defaultSeparators = " \t\n"

const variable = (value: string | undefined, isExported = true): Variable => ({ value, isExported, isReadonly: false })

interface Expanded {
  readonly values: ReadonlyArray<string>
  readonly isQuoted: boolean
  readonly isSplit: boolean
}

const finallyDo = <A, E>(effect: Effect.Effect<A, E>, run: () => void): Effect.Effect<A, E> =>
  Effect.ensuring(effect, Effect.sync(run))

export class Shell {
  readonly process: Process
  readonly name: string
  readonly variables: Map<string, Variable>
  readonly functions: Map<string, Syntax.Command>
  readonly options: Set<string>
  readonly traps: Map<number, string>
  readonly children = new Map<number, Process>()
  positional: ReadonlyArray<string>
  status = 0
  lastBackground: number | undefined

  private substitutionStatus: number | undefined
  private conditions = 0
  loops = 0
  private readonly caught: Array<number> = []
  private interrupted = Deferred.makeUnsafe<void>()
  private readonly locals: Array<Map<string, Variable | undefined>> = []

  constructor(process: Process, name: string, positional: ReadonlyArray<string>, parent?: Shell) {
    this.process = process
    this.name = name
    this.positional = positional
    this.variables = new Map([...(parent?.variables ?? [])].map(([key, variable]) => [key, { ...variable }]))
    this.functions = new Map(parent?.functions)
    this.options = new Set(parent?.options)
    this.traps = new Map()
    if (parent === undefined) {
      for (const [key, value] of process.env) this.variables.set(key, variable(value))
      this.variables.set("PWD", variable(process.cwd))
      this.variables.set("SHLVL", variable(String(Number(this.get("SHLVL") ?? 0) + 1)))
      this.variables.set("IFS", variable(defaultSeparators, false))
    } else {
      this.status = parent.status
      this.lastBackground = parent.lastBackground
      this.loops = parent.loops
      this.conditions = parent.conditions
    }
  }

  get(name: string): string | undefined {
    return this.variables.get(name)?.value
  }

  set(name: string, value: string): void {
    const known = this.variables.get(name)
    if (known === undefined) this.variables.set(name, variable(value, this.options.has("a")))
    else known.value = value
  }

  export(name: string): void {
    const known = this.variables.get(name)
    if (known === undefined) this.variables.set(name, variable(undefined))
    else known.isExported = true
  }

  assign(name: string, value: string): Outcome {
    if (this.variables.get(name)?.isReadonly === true) return this.abort(`${name}: is read only`)
    this.set(name, value)
    return Effect.succeed(0)
  }

  /** Declares a variable local to the current function. */
  declareLocal(name: string): boolean {
    const scope = this.locals.at(-1)
    if (scope === undefined) return false
    const known = this.variables.get(name)
    if (!scope.has(name)) scope.set(name, known && { ...known })
    return true
  }

  private restore(variables: ReadonlyMap<string, Variable | undefined>): void {
    for (const [name, before] of variables) {
      if (before === undefined) this.variables.delete(name)
      else this.variables.set(name, before)
    }
  }

  exported(assignments: ReadonlyMap<string, string> = new Map()): Map<string, string> {
    const env = new Map<string, string>()
    for (const [name, { isExported, value }] of this.variables) {
      if (isExported && value !== undefined) env.set(name, value)
    }
    for (const [name, value] of assignments) env.set(name, value)
    return env
  }

  main(script: string): Effect.Effect<number, Errno> {
    return this.toEnd(this.source(script))
  }

  /** Runs the EXIT trap. Returns the status of the shell's process. */
  toEnd(outcome: Outcome): Effect.Effect<number, Errno> {
    return Effect.catchTag(outcome, "Jump", ({ count, kind }) =>
      Effect.succeed(kind === "Exit" || kind === "Return" ? count : this.status)
    ).pipe(
      Effect.flatMap((status) => {
        const onExit = this.traps.get(0)
        if (onExit === undefined) return Effect.succeed(status)
        this.traps.delete(0)
        this.status = status
        return Effect.as(this.toEnd(this.source(onExit)), status)
      })
    )
  }

  source(script: string): Outcome {
    return Effect.suspend(() => {
      const list = this.parse(script)
      return "problem" in list ? this.abort(list.message) : this.list(list)
    })
  }

  private parse(script: string): Syntax.List | Syntax.SyntaxProblem {
    try {
      return Syntax.parse(script)
    } catch (cause) {
      if (cause instanceof Syntax.SyntaxProblem) return cause
      throw cause
    }
  }

  /** Runs each command as soon as it was read. */
  interactive(fd: number): Outcome {
    return Effect.gen({ self: this }, function* () {
      let text = ""
      for (;;) {
        const line = yield* this.process.readLine(fd)
        text += line
        if (text === "") return this.status
        const parsed = this.parse(text)
        if (!("problem" in parsed)) {
          text = ""
          yield* this.list(parsed)
        } else if (line === "" || !parsed.isIncomplete) return yield* this.abort(parsed.message)
        if (line === "") return this.status
      }
    })
  }

  complain(problem: string): Effect.Effect<void, Errno> {
    return this.process.complain(`${this.name}: ${problem}`)
  }

  /** Ends the shell with a message. */
  abort(problem: string, status = usageError): Effect.Effect<never, Errno | Jump> {
    return Effect.andThen(this.complain(problem), Effect.fail(new Jump({ kind: "Exit", count: status })))
  }

  /** Sets a trap; signal 0 is the end of the shell. */
  trap(signal: number, action: string | undefined): void {
    if (action === undefined) {
      this.traps.delete(signal)
      this.process.handlers.delete(signal)
      return
    }
    this.traps.set(signal, action)
    if (signal === 0) return
    this.process.handlers.set(
      signal,
      action === ""
        ? undefined
        : () => {
            this.caught.push(signal)
            Deferred.doneUnsafe(this.interrupted, Effect.void)
          }
    )
  }

  private runTraps(): Effect.Effect<void, Errno | Jump> {
    return Effect.suspend(() => {
      const signal = this.caught.shift()
      if (signal === undefined) return Effect.void
      this.interrupted = Deferred.makeUnsafe<void>()
      const { status } = this
      return this.source(this.traps.get(signal) ?? "").pipe(
        Effect.andThen(Effect.sync(() => (this.status = status))),
        Effect.andThen(this.runTraps())
      )
    })
  }

  /** Waits for a child, or until a signal is trapped. */
  waitInterruptibly(child: Process): Effect.Effect<ExitStatus | undefined> {
    return Effect.raceFirst(child.ended, Effect.as(Deferred.await(this.interrupted), undefined))
  }

  list(list: Syntax.List): Outcome {
    return Effect.gen({ self: this }, function* () {
      this.status = list.length === 0 ? 0 : this.status
      for (const item of list) {
        this.status = yield* item.isBackground ? this.background(item) : this.andOr(item)
        if (this.caught.length > 0) yield* this.runTraps()
      }
      return this.status
    })
  }

  private background(item: Syntax.AndOr): Outcome {
    return Effect.gen({ self: this }, function* () {
      const child = this.process.fork()
      child.assign(0, fromBytes(new Uint8Array()))
      this.lastBackground = child.pid
      this.children.set(child.pid, child)
      const { commands, isNegated } = item.first
      const only = commands.length === 1 && item.rest.length === 0 && !isNegated ? commands[0] : undefined
      yield* child.start(this.inChild((shell) => (only === undefined ? shell.andOr(item) : shell.command(only, true))))
      return 0
    })
  }

  /** Creates a program that runs in a copy of this shell. */
  private inChild(run: (shell: Shell) => Outcome): Program {
    return (process) => {
      const shell = new Shell(process, this.name, this.positional, this)
      return shell.toEnd(run(shell))
    }
  }

  private andOr({ first, rest }: Syntax.AndOr): Outcome {
    return Effect.gen({ self: this }, function* () {
      let status = yield* rest.length > 0 ? this.condition(this.pipeline(first)) : this.pipeline(first)
      for (const [index, { operator, pipeline }] of rest.entries()) {
        if ((operator === "&&") !== (status === 0)) continue
        this.status = status
        const isLast = index === rest.length - 1
        status = yield* isLast ? this.pipeline(pipeline) : this.condition(this.pipeline(pipeline))
      }
      return status
    })
  }

  /** Runs a condition, whose failure does not end the shell under `set -e`. */
  private condition(outcome: Outcome): Outcome {
    return Effect.suspend(() => {
      this.conditions++
      return finallyDo(outcome, () => this.conditions--)
    })
  }

  private pipeline({ commands, isNegated }: Syntax.Pipeline): Outcome {
    return Effect.gen({ self: this }, function* () {
      const [only] = commands
      const run = commands.length === 1 && only !== undefined ? this.command(only) : this.piped(commands)
      const status = yield* isNegated ? this.condition(run) : run
      if (isNegated) return status === 0 ? 1 : 0
      if (status !== 0 && this.conditions === 0 && this.options.has("e")) {
        return yield* new Jump({ kind: "Exit", count: status })
      }
      return status
    })
  }

  private piped(commands: ReadonlyArray<Syntax.Command>): Outcome {
    return Effect.gen({ self: this }, function* () {
      const children: Array<Process> = []
      let input: Description | undefined
      for (const [index, command] of commands.entries()) {
        const child = this.process.fork()
        if (input !== undefined) child.assign(0, input)
        input = undefined
        if (index < commands.length - 1) {
          const pipe = new Pipe()
          child.assign(1, pipe.writer)
          input = pipe.reader
        }
        children.push(child)
        yield* child.start(this.inChild((shell) => shell.command(command, true)))
      }
      let status = 0
      for (const child of children) {
        status = yield* this.statusOf(yield* child.ended)
      }
      return status
    })
  }

  statusOf(status: ExitStatus): Effect.Effect<number, Errno> {
    if (status._tag === "Exited") return Effect.succeed(status.code)
    const problem = describeSignal(status.signal)
    return Effect.as(
      problem === undefined ? Effect.void : Effect.ignore(this.process.complain(problem)),
      128 + status.signal
    )
  }

  /** Runs a command. `isLast`: nothing follows, so that a program can take the place of the shell. */
  private command(command: Syntax.Command, isLast = false): Outcome {
    if (command._tag === "Simple") return this.simple(command, isLast)
    const compound = () => this.compound(command)
    return isLast
      ? this.redirectedToEnd(command.redirections, compound)
      : this.redirected(command.redirections, compound)
  }

  private compound(command: Syntax.Compound): Outcome {
    switch (command._tag) {
      case "Group":
        return this.list(command.body)
      case "Subshell":
        return Effect.gen({ self: this }, function* () {
          const child = this.process.fork()
          yield* child.start(this.inChild((shell) => shell.list(command.body)))
          return yield* this.statusOf(yield* child.ended)
        })
      case "If":
        return Effect.gen({ self: this }, function* () {
          for (const { body, condition } of command.clauses) {
            if ((yield* this.condition(this.list(condition))) === 0) return yield* this.list(body)
          }
          return command.otherwise === undefined ? 0 : yield* this.list(command.otherwise)
        })
      case "Loop":
        return this.loop(command.body, () =>
          Effect.map(this.condition(this.list(command.condition)), (status) => (status === 0) !== command.isUntil)
        )
      case "For":
        return Effect.gen({ self: this }, function* () {
          const values = [...(command.words === undefined ? this.positional : yield* this.fields(command.words))]
          return yield* this.loop(command.body, () => {
            const value = values.shift()
            return value === undefined ? Effect.succeed(false) : Effect.as(this.assign(command.name, value), true)
          })
        })
      case "Case":
        return Effect.gen({ self: this }, function* () {
          const value = yield* this.text(command.word)
          for (const { body, patterns } of command.items) {
            for (const pattern of patterns) {
              if (matches(yield* this.segments(pattern), value)) return yield* this.list(body)
            }
          }
          return 0
        })
      case "Function": {
        this.functions.set(command.name, command.body)
        return Effect.succeed(0)
      }
    }
  }

  private loop(body: Syntax.List, hasNext: () => Effect.Effect<boolean, Errno | Jump>): Outcome {
    return Effect.gen({ self: this }, function* () {
      let status = 0
      while (yield* hasNext()) {
        this.loops++
        const next = yield* finallyDo(this.list(body), () => this.loops--).pipe(
          Effect.catchTag("Jump", (jump) => {
            if (jump.kind === "Exit" || jump.kind === "Return") return Effect.fail(jump)
            if (jump.count > 1) return Effect.fail(new Jump({ kind: jump.kind, count: jump.count - 1 }))
            return Effect.succeed(jump.kind === "Break" ? undefined : 0)
          })
        )
        if (next === undefined) return 0
        status = next
      }
      return status
    })
  }

  private simple(
    { assignments, redirections, words }: Extract<Syntax.Command, Syntax.Simple>,
    isLast: boolean
  ): Outcome {
    return Effect.gen({ self: this }, function* () {
      this.substitutionStatus = undefined
      const argv = yield* this.fields(words)
      const values = new Map<string, string>()
      const traced: Array<string> = []
      for (const { name, value } of assignments) {
        const text = yield* this.text(value)
        traced.push(`${name}=${text}`)
        if (argv.length > 0) values.set(name, text)
        else yield* this.assign(name, text)
      }
      if (this.options.has("x")) yield* this.process.complain(`+ ${[...traced, ...argv].join(" ")}`)
      const [name] = argv
      if (name === undefined) {
        return yield* this.redirected(redirections, () => Effect.succeed(this.substitutionStatus ?? 0))
      }
      const definition = this.functions.get(name)
      if (definition !== undefined) {
        return yield* this.redirected(redirections, () => this.withValues(values, this.call(definition, argv)))
      }
      // Without a command, redirections apply to the rest of the script.
      if (name === "exec" && argv.length === 1) return (yield* this.redirect(redirections)) ? 0 : 1
      const builtin = builtins.get(name)
      if (builtin !== undefined) {
        return yield* this.redirected(redirections, () => this.withValues(values, this.survive(builtin(this, argv))))
      }
      return yield* isLast ? this.become(argv, values, redirections) : this.external(argv, values, redirections)
    })
  }

  /** A builtin's write error does not end the shell. */
  private survive(outcome: Outcome): Outcome {
    return Effect.catchIf(
      outcome,
      (error): error is Errno => error instanceof Errno && error.code !== "EPIPE",
      ({ problem }) => Effect.as(this.process.complain(`sh: write error: ${problem}`), 1)
    )
  }

  /** Runs an effect with temporary variables. */
  private withValues(values: ReadonlyMap<string, string>, outcome: Outcome): Outcome {
    if (values.size === 0) return outcome
    return Effect.suspend(() => {
      const before = new Map([...values.keys()].map((name) => [name, this.variables.get(name)]))
      for (const [name, value] of values) this.variables.set(name, variable(value))
      return finallyDo(outcome, () => this.restore(before))
    })
  }

  private call(definition: Syntax.Command, argv: ReadonlyArray<string>): Outcome {
    return Effect.suspend(() => {
      const outer = this.positional
      this.positional = argv.slice(1)
      const scope = new Map<string, Variable | undefined>()
      this.locals.push(scope)
      return finallyDo(untilReturn(this.command(definition)), () => {
        this.positional = outer
        this.locals.pop()
        this.restore(scope)
      })
    })
  }

  external(
    argv: ReadonlyArray<string>,
    values: ReadonlyMap<string, string> = new Map(),
    redirections: ReadonlyArray<Syntax.Redirection> = []
  ): Outcome {
    return Effect.gen({ self: this }, function* () {
      const child = this.process.fork({ argv })
      yield* child.start(this.inChild((shell) => shell.become(argv, values, redirections)))
      return yield* this.statusOf(yield* child.ended)
    })
  }

  /** Ends this shell with a program in its place. */
  private become(
    argv: ReadonlyArray<string>,
    values: ReadonlyMap<string, string>,
    redirections: ReadonlyArray<Syntax.Redirection>
  ): Outcome {
    return this.redirectedToEnd(redirections, () => {
      this.process.setEnv(this.exported(values))
      return this.execute(argv)
    })
  }

  execute(argv: ReadonlyArray<string>, prefix = ""): Outcome {
    const { process } = this
    const name = argv[0] ?? ""
    return process.load(argv, this.get("PATH")).pipe(
      Effect.flatMap(({ argv, program }) => {
        process.argv = argv
        // Another program inherits ignored signals, but no handlers.
        for (const [signal, handler] of process.handlers) if (handler !== undefined) process.handlers.delete(signal)
        return program(process, argv)
      }),
      Effect.catchTag("Errno", (error) => {
        switch (error.code) {
          case "ENOENT":
          case "ENOTDIR":
            return Effect.as(this.complain(`${prefix}${name}: not found`), 127)
          case "E2BIG":
          case "EACCES":
            return Effect.as(this.complain(`${prefix}${name}: ${error.problem}`), 126)
          case "ENOEXEC":
            return Effect.flatMap(process.readFile(name), (script) => {
              const shell = new Shell(process, name, argv.slice(1))
              return shell.main(script)
            })
          default:
            return Effect.fail(error)
        }
      })
    )
  }

  /** Runs an effect with other descriptors, and restores them. */
  private redirected(redirections: ReadonlyArray<Syntax.Redirection>, run: () => Outcome): Outcome {
    if (redirections.length === 0) return Effect.suspend(run)
    return Effect.suspend(() => {
      const saved = new Map<number, Description | undefined>()
      for (const { fd } of redirections) {
        if (!saved.has(fd)) saved.set(fd, this.process.descriptors.get(fd)?.retain())
      }
      return finallyDo(this.redirectedToEnd(redirections, run), () => {
        for (const [fd, description] of saved) {
          if (description !== undefined) this.process.assign(fd, description)
          else this.process.close(fd)
        }
      })
    })
  }

  /** The same where nothing follows: what the descriptors were before is not held open. */
  private redirectedToEnd(redirections: ReadonlyArray<Syntax.Redirection>, run: () => Outcome): Outcome {
    return Effect.flatMap(this.redirect(redirections), (isDone) => (isDone ? run() : Effect.succeed(1)))
  }

  /** Changes the descriptors. Returns whether that worked. */
  redirect(redirections: ReadonlyArray<Syntax.Redirection>): Effect.Effect<boolean, Errno | Jump> {
    return Effect.gen({ self: this }, function* () {
      for (const { fd, operator, target } of redirections) {
        if (operator === "<<") {
          this.process.assign(fd, fromBytes(toBytes(yield* this.text(target))))
          continue
        }
        const name = yield* this.text(target)
        if (operator === "<&" || operator === ">&") {
          if (name === "-") {
            this.process.close(fd)
            continue
          }
          const source = /^\d+$/.test(name) ? this.process.descriptors.get(Number(name)) : undefined
          if (source === undefined) {
            yield* this.complain(`${name}: ${errno("EBADF").problem}`)
            return false
          }
          this.process.assign(fd, source.retain())
          continue
        }
        const isWritten = operator !== "<"
        const opened = yield* Effect.result(
          this.process.open(name, {
            read: operator === "<" || operator === "<>",
            write: isWritten,
            append: operator === ">>",
            create: isWritten,
            truncate: operator === ">"
          })
        )
        if (opened._tag === "Failure") {
          const { code, problem } = opened.failure
          const reason = code !== "ENOENT" ? problem : isWritten ? "nonexistent directory" : "no such file"
          yield* this.complain(`can't ${isWritten ? "create" : "open"} ${name}: ${reason}`)
          return false
        }
        this.process.assign(fd, opened.success)
      }
      return true
    })
  }

  /** Expands words into arguments. */
  fields(words: ReadonlyArray<Syntax.Word>): Effect.Effect<ReadonlyArray<string>, Errno | Jump> {
    return Effect.gen({ self: this }, function* () {
      const result: Array<string> = []
      for (const word of words) {
        for (const field of yield* this.split(word)) {
          if (this.options.has("f")) result.push(textOf(field))
          else result.push(...expandPath(this.process, field))
        }
      }
      return result
    })
  }

  text(word: Syntax.Word): Effect.Effect<string, Errno | Jump> {
    return Effect.map(this.segments(word), textOf)
  }

  private segments(word: Syntax.Word): Effect.Effect<ReadonlyArray<Segment>, Errno | Jump> {
    return Effect.map(this.expand(word), (parts) =>
      parts.map(({ isQuoted, values }) => ({ text: values.join(" "), isQuoted }))
    )
  }

  /** Expands the parts of a word. Only `$@` has several values. */
  private expand(word: Syntax.Word): Effect.Effect<ReadonlyArray<Expanded>, Errno | Jump> {
    return Effect.forEach(word, (part, index) =>
      Effect.map(part._tag === "Text" ? Effect.succeed([this.tilde(part, index)]) : this.value(part), (values) => ({
        values,
        isQuoted: part.isQuoted,
        isSplit: part._tag !== "Text" && !part.isQuoted
      }))
    )
  }

  private tilde({ isQuoted, text }: Extract<Syntax.Part, { readonly _tag: "Text" }>, index: number): string {
    const home = this.get("HOME")
    return isQuoted || home === undefined || index > 0 ? text : text.replace(/^~(?=\/|$)/, home.replaceAll("$", "$$$$"))
  }

  private split(word: Syntax.Word): Effect.Effect<ReadonlyArray<ReadonlyArray<Segment>>, Errno | Jump> {
    return Effect.map(this.expand(word), (parts) => {
      const fields: Array<Array<Segment>> = []
      let current: Array<Segment> | undefined
      const close = () => {
        if (current !== undefined) fields.push(current)
        current = undefined
      }
      const separators = this.get("IFS") ?? defaultSeparators
      for (const { isQuoted, isSplit, values } of parts) {
        for (const [position, value] of values.entries()) {
          if (position > 0) close()
          for (const piece of isSplit ? splitFields(value, separators) : value === "" && !isQuoted ? [] : [value]) {
            if (piece === undefined) close()
            else (current ??= []).push({ text: piece, isQuoted })
          }
        }
      }
      close()
      return fields
    })
  }

  private value(
    part: Exclude<Syntax.Part, { readonly _tag: "Text" }>
  ): Effect.Effect<ReadonlyArray<string>, Errno | Jump> {
    switch (part._tag) {
      case "Substitution":
        return Effect.map(this.substitute(part.body), (text) => [text])
      case "Arithmetic":
        return Effect.flatMap(this.text(part.expression), (expression) =>
          Effect.map(this.calculate(expression), (value) => [String(value)])
        )
      case "Parameter":
        return this.parameter(part)
    }
  }

  calculate(expression: string): Effect.Effect<number, Errno | Jump> {
    return Effect.suspend(() => {
      try {
        return Effect.succeed(
          Arithmetic.evaluate(expression, {
            get: (name) => this.get(name),
            set: (name, value) => this.set(name, value)
          })
        )
      } catch (cause) {
        if (cause instanceof Arithmetic.ArithmeticProblem) return this.abort(cause.message)
        throw cause
      }
    })
  }

  private substitute(body: Syntax.List): Effect.Effect<string, Errno> {
    return Effect.gen({ self: this }, function* () {
      const pipe = new Pipe()
      const child = this.process.fork()
      child.assign(1, pipe.writer)
      yield* child.start(this.inChild((shell) => shell.list(body)))
      const output = yield* toEnd(() => pipe.reader.read(64 * 1024))
      pipe.reader.release()
      this.substitutionStatus = yield* this.statusOf(yield* child.ended)
      this.status = this.substitutionStatus
      return output.replace(/\n+$/, "").replaceAll("\0", "")
    })
  }

  private special(name: string): ReadonlyArray<string> | undefined {
    if (/^\d+$/.test(name)) {
      const value = name === "0" ? this.name : this.positional[Number(name) - 1]
      return value === undefined ? undefined : [value]
    }
    const specials: { readonly [name: string]: () => ReadonlyArray<string> } = {
      "@": () => this.positional,
      "*": () => [this.positional.join((this.get("IFS") ?? " ").slice(0, 1))],
      "#": () => [String(this.positional.length)],
      "?": () => [String(this.status)],
      $: () => [String(this.process.pid)],
      "!": () => [String(this.lastBackground ?? "")],
      "-": () => [[...this.options].join("")]
    }
    if (Object.hasOwn(specials, name)) return specials[name]?.()
    const value = this.get(name)
    return value === undefined ? undefined : [value]
  }

  private parameter(
    part: Extract<Syntax.Part, { readonly _tag: "Parameter" }>
  ): Effect.Effect<ReadonlyArray<string>, Errno | Jump> {
    return Effect.gen({ self: this }, function* () {
      const { isLength, name, operator, word = [] } = part
      const found = this.special(name)
      if (isLength) return [String(name === "@" || name === "*" ? this.positional.length : (found?.[0] ?? "").length)]
      if (operator === undefined) {
        if (found === undefined && this.options.has("u") && name !== "@" && name !== "*") {
          return yield* this.abort(`${name}: parameter not set`)
        }
        return found ?? []
      }
      const isAbsent = found === undefined || (operator.startsWith(":") && found.join("") === "")
      switch (operator.replace(":", "")) {
        case "-":
          return isAbsent ? [yield* this.text(word)] : found
        case "=": {
          if (!isAbsent) return found
          const value = yield* this.text(word)
          yield* this.assign(name, value)
          return [value]
        }
        case "?": {
          if (!isAbsent) return found
          const message = yield* this.text(word)
          const missing = operator === ":?" ? "parameter not set or null" : "parameter not set"
          return yield* this.abort(`${name}: ${message === "" ? missing : message}`)
        }
        case "+":
          return isAbsent ? [] : [yield* this.text(word)]
        default: {
          const segments = yield* this.segments(word)
          const value = (found ?? []).join(" ")
          const isPrefix = operator.startsWith("#")
          const source = toRegExpSource(segments, operator.length === 1)
          return [
            isPrefix ? value.replace(new RegExp(`^${source}`), "") : cutSuffix(value, source, operator.length === 1)
          ]
        }
      }
    })
  }
}

/** Removes a suffix. A regular expression alone would always find the longest. */
const cutSuffix = (value: string, source: string, isShortest: boolean): string => {
  const expression = new RegExp(`^(?:${source})$`)
  const lengths = Array.from({ length: value.length + 1 }, (_, length) => length)
  for (const length of isShortest ? lengths : lengths.toReversed()) {
    if (expression.test(value.slice(value.length - length))) return value.slice(0, value.length - length)
  }
  return value
}

/** Splits a value into pieces, with `undefined` where a field ends. */
const splitFields = (value: string, separators: string): ReadonlyArray<string | undefined> => {
  const pieces: Array<string | undefined> = []
  let piece = ""
  let before: "text" | "blank" | "separator" | undefined
  for (const character of value) {
    const isBlank = /\s/.test(character)
    if (!separators.includes(character)) {
      piece += character
      before = "text"
      continue
    }
    // Blanks and one other separator among them are one end of a field.
    if (piece !== "") pieces.push(piece, undefined)
    else if (isBlank ? before === undefined : before !== "blank") pieces.push(isBlank ? undefined : "", undefined)
    piece = ""
    before = isBlank && before === "separator" ? before : isBlank ? "blank" : "separator"
  }
  if (piece !== "") pieces.push(piece)
  return pieces
}

export const program: Program = (process, argv) =>
  Effect.gen(function* () {
    const words = argv.slice(1)
    const [self = "sh"] = argv
    const options = new Set<string>()
    let isCommand = false
    let isFromInput = false
    while (words[0] !== undefined && /^[-+]./.test(words[0])) {
      const word = words.shift() ?? ""
      if (word === "--") break
      for (const letter of word.slice(1)) {
        if (letter === "c") isCommand = true
        else if (letter === "s") isFromInput = true
        else if (letter === "o") words.shift()
        else options.add(letter)
      }
    }
    const script = isCommand ? words.shift() : undefined
    if (isCommand && script === undefined) {
      yield* process.complain(`${self}: -c requires an argument`)
      return usageError
    }
    const file = isCommand || isFromInput ? undefined : words.shift()
    const name = isCommand ? (words.shift() ?? self) : (file ?? self)
    const shell = new Shell(process, name, words)
    for (const letter of options) shell.options.add(letter)
    if (script !== undefined) return yield* shell.main(script)
    if (file === undefined) return yield* shell.toEnd(shell.interactive(0))
    const content = yield* Effect.result(process.readFile(file))
    if (content._tag === "Failure") {
      yield* process.complain(`${self}: can't open '${file}': ${content.failure.problem}`)
      return usageError
    }
    return yield* shell.main(content.success)
  })

/**
 * Resolves a parsed Dockerfile: stages, the scopes of ARG and ENV, and each instruction as steps and settings of a
 * definition. Reads names in the build context, but boots nothing.
 */
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Crypto from "node:crypto"
import * as FsSync from "node:fs"
import * as Path from "node:path"
import type { ImageDetail } from "../../Microsandbox.ts"
import type { LaunchDefaults, PortMapping, Service } from "../../SandboxConfig.ts"
import type { AddSource, Definition, Step, StepMount, StepSecret } from "../../Snapshot.ts"
import { checkOwnLabel, checkVariable, User } from "../config/schemas.ts"
import { signals } from "../config/signals.ts"
import { cleaned, hasWildcard, ignorerOf, isWrongPattern } from "./ignoreFile.ts"
import { ownerOf } from "./owner.ts"
import { type Dockerfile, type Flag, heredocIn, type Instruction } from "./parse.ts"
import { type Position, Problem } from "./problem.ts"
import { expand, expandText, type Lookup, wordsInJson, wordsOf } from "./words.ts"

/** What a stage becomes. */
export interface StageDefinition {
  readonly name: string
  readonly image: string
  readonly steps: ReadonlyArray<Step>
  readonly defaults: LaunchDefaults
  readonly labels: { readonly [key: string]: string }
  readonly declaredAt: string
}

export interface Input {
  readonly name: string
  readonly dockerfile: Dockerfile
  /** Shown before the number of a line. */
  readonly file: string
  /** A folder of the host. */
  readonly context: string | undefined
  /** The lines of the ignore file. */
  readonly ignore: ReadonlyArray<string>
  readonly target: string | undefined
  readonly args: { readonly [name: string]: string }
  readonly secrets: { readonly [id: string]: Redacted.Redacted<string> }
  readonly define: (stage: StageDefinition) => Definition
  /** Configurations of images that are known. */
  readonly images: ReadonlyMap<string, ImageDetail>
}

/** Thrown where the configuration of an image matters that is not known yet. */
export class ImageNeeded extends Error {
  readonly reference: string
  constructor(reference: string) {
    super(reference)
    this.reference = reference
  }
}

const allowed: { readonly [keyword: string]: ReadonlyArray<string> } = {
  ADD: ["chown", "chmod", "checksum", "link"],
  COPY: ["chown", "chmod", "from", "link"],
  FROM: ["platform"],
  HEALTHCHECK: ["interval", "timeout", "start-period", "start-interval", "retries"],
  RUN: ["mount", "network", "security"]
}

const refused: { readonly [keyword: string]: string } = {
  MAINTAINER: "MAINTAINER is not supported: use LABEL maintainer=…",
  ONBUILD: "ONBUILD is not supported: a snapshot has no triggers for later builds"
}

const proxies = new Set(
  ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"].flatMap((name) => [name, name.toLowerCase()])
)

const architecture = process.arch === "x64" ? "amd64" : process.arch

const platform = `linux/${architecture}`

const platformArgs: { readonly [name: string]: string } = {
  BUILDPLATFORM: platform,
  BUILDOS: "linux",
  BUILDARCH: architecture,
  BUILDVARIANT: "",
  TARGETPLATFORM: platform,
  TARGETOS: "linux",
  TARGETARCH: architecture,
  TARGETVARIANT: ""
}

interface Block {
  readonly index: number
  /** Lower case; absent without `AS`. */
  readonly name: string | undefined
  readonly from: Instruction
  readonly image: string
  readonly instructions: ReadonlyArray<Instruction>
}

/** Everything that later instructions, or stages that start from this one, see. */
interface State {
  readonly image: string
  readonly env: { readonly [name: string]: string }
  readonly args: { readonly [name: string]: string }
  readonly user: string | undefined
  readonly workdir: string | undefined
  readonly shell: readonly [string, ...Array<string>]
  readonly entrypoint: ReadonlyArray<string> | undefined
  readonly cmd: ReadonlyArray<string> | undefined
  /** In this stage. */
  readonly hasCmd: boolean
  readonly ports: ReadonlyArray<PortMapping>
  readonly ready: Service["ready"] | undefined
  readonly labels: { readonly [key: string]: string }
  readonly steps: ReadonlyArray<Step>
}

/** Returns the definition of the target. */
export const resolve = (input: Input): Definition => new Resolver(input).target()

class Resolver {
  private readonly input: Input
  private readonly metaArgs: { [name: string]: string } = {}
  private readonly blocks: ReadonlyArray<Block>
  private readonly states = new Map<Block, State>()
  private readonly definitions = new Map<string, Definition>()
  /** By reference. */
  private readonly imageDefinitions = new Map<string, Definition>()

  constructor(input: Input) {
    this.input = input
    this.blocks = this.split()
    this.checkArgs()
  }

  target(): Definition {
    const { target } = this.input
    const last = this.blocks.at(-1)
    if (last === undefined) throw new Problem({ line: 1, column: 1 }, "there is no FROM")
    const block = target === undefined ? last : this.find(target, this.blocks.length)
    if (block === undefined) {
      const names = this.blocks.map(({ index, name }) => name ?? String(index)).join(", ")
      throw new Problem(last.from.at, `there is no stage "${target}", only ${names}`)
    }
    const { workdir = "" } = this.stateOf(block)
    if (workdir.startsWith("/tmp/")) {
      const { at } = block.instructions.findLast(({ keyword }) => keyword === "WORKDIR") ?? block.from
      throw new Problem(at, `a sandbox cannot begin in ${workdir}: its /tmp is in memory`)
    }
    return this.definitionOf(block, this.input.name)
  }

  /** Splits the instructions into stages, and checks what needs no state. */
  private split(): ReadonlyArray<Block> {
    const { args, dockerfile } = this.input
    const { instructions, lexer } = dockerfile
    const blocks: Array<Omit<Block, "instructions"> & { readonly instructions: Array<Instruction> }> = []
    for (const instruction of instructions) {
      const { at, flags, keyword, rest } = instruction
      const problem = refused[keyword]
      if (problem !== undefined) throw new Problem(at, problem)
      for (const flag of flags) {
        if (!(allowed[keyword] ?? []).includes(flag.name)) {
          throw new Problem(flag.at, `the flag --${flag.name} of ${keyword} is not supported`)
        }
      }
      const block = blocks.at(-1)
      const lookup: Lookup = (name) => this.metaArgs[name] ?? platformArgs[name]
      if (keyword === "FROM") {
        const [reference = "", as, stage, ...more] = wordsOf(rest, lexer, at)
        if ((as !== undefined && (as.toUpperCase() !== "AS" || stage === undefined)) || more.length > 0) {
          throw new Problem(at, "expected FROM image, or FROM image AS name")
        }
        const name = stage?.toLowerCase()
        if (name !== undefined && !/^[a-z][a-z0-9._-]*$/.test(name)) {
          throw new Problem(at, `${stage} is not a name for a stage`)
        }
        if (name !== undefined && blocks.some((other) => other.name === name)) {
          throw new Problem(at, `there are two stages named ${name}`)
        }
        const wanted = flagOf(flags, "platform")
        const asked = wanted === undefined ? "" : expand(wanted, lexer, at, lookup)
        if (asked !== "" && asked !== platform && asked !== "linux") {
          throw new Problem(at, `the platform ${asked} is not supported: this machine runs ${platform}`)
        }
        const image = expand(reference, lexer, at, lookup)
        if (image === "") throw new Problem(at, `${reference} is empty`)
        blocks.push({ index: blocks.length, name, from: instruction, image, instructions: [] })
      } else if (block !== undefined) block.instructions.push(instruction)
      else if (keyword === "ARG") {
        for (const [name, value] of this.pairs(instruction, true)) {
          const given = args[name] ?? (value === undefined ? undefined : expand(value, lexer, at, lookup))
          if (given !== undefined) this.metaArgs[name] = given
        }
      } else throw new Problem(at, `${keyword} before FROM`)
    }
    return blocks
  }

  /** A misspelled argument would be ignored silently. */
  private checkArgs(): void {
    const { args, dockerfile } = this.input
    const known = new Set(
      dockerfile.instructions.flatMap((instruction) =>
        instruction.keyword === "ARG" ? this.pairs(instruction, true).map(([name]) => name) : []
      )
    )
    for (const name of Object.keys(args)) {
      if (!known.has(name) && !proxies.has(name) && !(name in platformArgs)) {
        throw new Problem({ line: 1, column: 1 }, `there is no ARG ${name}`)
      }
    }
  }

  /** Finds a stage before a position by name or number. */
  private find(name: string, before: number): Block | undefined {
    return this.blocks
      .slice(0, before)
      .findLast((block) => block.name === name.toLowerCase() || (/^\d+$/.test(name) && block.index === Number(name)))
  }

  private definitionOf(block: Block, name: string): Definition {
    const found = this.definitions.get(name)
    if (found !== undefined) return found
    const { from } = block
    const { cmd, entrypoint, env, image, labels, ports, shell, steps, user, workdir } = this.stateOf(block)
    const service = this.serviceOf(this.stateOf(block))
    const [program] = shell
    const defaults: LaunchDefaults = {
      ...(Object.keys(env).length === 0 ? {} : { env }),
      ...(workdir === undefined ? {} : { cwd: workdir }),
      ...(user === undefined ? {} : { user }),
      ...(program.startsWith("/") && program !== "/bin/sh" ? { shell: program } : {}),
      ...(entrypoint === undefined ? {} : { entrypoint }),
      ...(cmd === undefined ? {} : { cmd }),
      ...(ports.length === 0 ? {} : { ports }),
      ...(service === undefined ? {} : { services: { main: service } })
    }
    const made = this.input.define({ name, image, steps, defaults, labels, declaredAt: this.lineOf(from.at) })
    this.definitions.set(name, made)
    return made
  }

  /** A program that listens, or says when it is healthy, is a service. */
  private serviceOf({ cmd, entrypoint, image, ports, ready }: State): Service | undefined {
    if (ports.length === 0 && ready === undefined) return undefined
    const base = entrypoint === undefined || cmd === undefined ? this.imageOf(image) : undefined
    const [program, ...args] = [...(entrypoint ?? base?.entrypoint ?? []), ...(cmd ?? base?.cmd ?? [])]
    return program === undefined
      ? undefined
      : { command: [program, ...args], ...(ready === undefined ? {} : { ready }) }
  }

  private imageOf(reference: string): ImageDetail {
    const found = this.input.images.get(reference)
    if (found === undefined) throw new ImageNeeded(reference)
    return found
  }

  private lineOf({ line }: Position): string {
    return `${this.input.file}:${line}`
  }

  private stateOf(block: Block): State {
    const known = this.states.get(block)
    if (known !== undefined) return known
    const { from, image } = block
    const parent = this.find(image, block.index)
    if (image === "scratch") {
      throw new Problem(from.at, "FROM scratch is not supported: a sandbox boots from a disk with programs")
    }
    let state: State =
      parent === undefined || /^\d+$/.test(image)
        ? {
            image,
            env: {},
            args: {},
            user: undefined,
            workdir: undefined,
            shell: ["/bin/sh", "-c"],
            entrypoint: undefined,
            cmd: undefined,
            hasCmd: false,
            ports: [],
            ready: undefined,
            labels: {},
            steps: []
          }
        : { ...this.stateOf(parent), hasCmd: false }
    // What is wrong with later instructions is told before an image is pulled.
    let needed: ImageNeeded | undefined
    for (const instruction of block.instructions) {
      try {
        state = this.apply(state, instruction, block)
      } catch (cause) {
        if (!(cause instanceof ImageNeeded)) throw cause
        needed ??= cause
      }
    }
    if (needed !== undefined) throw needed
    this.states.set(block, state)
    return state
  }

  // ===========================================================================
  // Instructions
  // ===========================================================================

  private apply(state: State, instruction: Instruction, block: Block): State {
    const { at, keyword, rest } = instruction
    const { lexer } = this.input.dockerfile
    const value = () => expand(rest, lexer, at, this.lookupIn(state))
    switch (keyword) {
      case "ADD":
      case "COPY":
        return this.added(state, instruction, block)
      case "ARG":
        return this.withArgs(state, instruction)
      case "CMD":
        return { ...state, cmd: this.commandOf(state, instruction), hasCmd: true }
      case "ENTRYPOINT":
        return {
          ...state,
          entrypoint: this.commandOf(state, instruction),
          // The command of an image belongs to its own entrypoint.
          cmd: state.hasCmd ? state.cmd : []
        }
      case "ENV": {
        const variables = this.expandedPairs(state, instruction)
        return { ...this.with(state, instruction, { _tag: "Env", variables }), env: { ...state.env, ...variables } }
      }
      case "EXPOSE":
        return { ...state, ports: this.exposed(state, instruction) }
      case "HEALTHCHECK":
        return { ...state, ready: this.healthcheck(state, instruction) }
      case "LABEL":
        return { ...state, labels: { ...state.labels, ...this.expandedPairs(state, instruction) } }
      case "RUN":
        return this.run(state, instruction, block)
      case "SHELL": {
        const [program, ...args] = wordsInJson(rest) ?? []
        if (program === undefined) throw new Problem(at, 'expected SHELL ["program", "argument"]')
        return { ...state, shell: [program, ...args] }
      }
      case "STOPSIGNAL": {
        const signal = value()
        const name = signal.replace(/^SIG/, "")
        if (!/^\d+$/.test(signal) && !(`SIG${name}` in signals) && !/^RT(MIN|MAX)([+-]\d+)?$/.test(name)) {
          throw new Problem(at, `${signal} is not a signal`)
        }
        return state
      }
      case "USER": {
        const user = userIn(value(), at)
        return { ...this.with(state, instruction, { _tag: "User", user }), user }
      }
      case "VOLUME": {
        // The disk of a sandbox is its own, as an anonymous volume is. The folder must exist.
        const paths =
          wordsInJson(rest) ?? wordsOf(rest, lexer, at).map((word) => expand(word, lexer, at, this.lookupIn(state)))
        return paths.reduce(
          (state, path) =>
            this.with(state, instruction, {
              _tag: "Add",
              from: { _tag: "Texts", files: [] },
              to: `${this.absolute(state, path)}/`.replace(/\/+$/, "/"),
              options: { description: instruction.source }
            }),
          state
        )
      }
      case "WORKDIR": {
        const path = this.absolute(state, value())
        const { image, user } = state
        return {
          ...this.with(state, instruction, {
            _tag: "Workdir",
            path,
            owner: user === undefined ? { image } : ownerOf(user),
            options: { description: instruction.source }
          }),
          workdir: path
        }
      }
      default:
        throw new Problem(at, `${keyword} is not supported here`)
    }
  }

  private with(state: State, { at }: Instruction, step: WithoutPlace<Step>): State {
    const steps: ReadonlyArray<Step> = [...state.steps, { options: {}, ...step, declaredAt: this.lineOf(at) }]
    return { ...state, steps }
  }

  private lookupIn({ args, env, image }: State): Lookup {
    return (name) => env[name] ?? args[name] ?? this.imageOf(image).env[name]
  }

  private absolute({ image, workdir }: State, path: string): string {
    const base = path.startsWith("/") ? "/" : (workdir ?? this.imageOf(image).cwd ?? "/")
    return Path.posix.resolve(base === "" ? "/" : base, path)
  }

  /** The names and values of an ARG, ENV or LABEL. */
  private pairs(
    { at, keyword, rest }: Instruction,
    mayBeBare: boolean
  ): ReadonlyArray<readonly [name: string, value: string | undefined]> {
    const words = wordsOf(rest, this.input.dockerfile.lexer, at)
    if (!mayBeBare && !(words[0] ?? "").includes("=")) {
      const [, name = "", value] = /^(\S+)\s+(.*)$/s.exec(rest) ?? []
      if (value === undefined) throw new Problem(at, `expected ${keyword} name=value`)
      return [[name, value]]
    }
    return words.map((word) => {
      const end = word.indexOf("=")
      const name = end === -1 ? word : word.slice(0, end)
      if (name === "" || (end === -1 && !mayBeBare))
        throw new Problem(at, `expected ${keyword} name=value, not ${word}`)
      return [name, end === -1 ? undefined : word.slice(end + 1)]
    })
  }

  private expandedPairs(state: State, instruction: Instruction): { readonly [name: string]: string } {
    const { lexer } = this.input.dockerfile
    const expanded = (text: string) => expand(text, lexer, instruction.at, this.lookupIn(state))
    // All of them see the variables from before the instruction.
    return Object.fromEntries(
      this.pairs(instruction, false).map(([rawName, value = ""]) => {
        const name = expanded(rawName)
        const problem = instruction.keyword === "LABEL" ? checkOwnLabel(name) : checkVariable(name)
        if (problem !== undefined) throw new Problem(instruction.at, problem)
        return [name, expanded(value)]
      })
    )
  }

  private withArgs(state: State, instruction: Instruction): State {
    const { args, dockerfile } = this.input
    let next = state
    for (const [name, value] of this.pairs(instruction, true)) {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new Problem(instruction.at, `${name} is not a name`)
      const given =
        args[name] ??
        (value === undefined
          ? (this.metaArgs[name] ?? platformArgs[name])
          : expand(value, dockerfile.lexer, instruction.at, this.lookupIn(next)))
      if (given !== undefined) next = { ...next, args: { ...next.args, [name]: given } }
    }
    return next
  }

  /** A list of words, or a text for the shell. */
  private commandOf({ shell }: State, { rest }: Instruction): ReadonlyArray<string> {
    return wordsInJson(rest) ?? (rest === "" ? [] : [...shell, rest])
  }

  private exposed(state: State, { at, rest }: Instruction): ReadonlyArray<PortMapping> {
    const { lexer } = this.input.dockerfile
    const words = wordsOf(rest, lexer, at).flatMap((word) =>
      expand(word, lexer, at, this.lookupIn(state))
        .split(/\s+/)
        .filter((word) => word !== "")
    )
    const all = words.flatMap((word): ReadonlyArray<PortMapping> => {
      const [, first = "", last = first, protocol = "tcp"] = /^(\d+)(?:-(\d+))?(?:\/(tcp|udp))?$/i.exec(word) ?? []
      const [from, to] = [Number(first), Number(last)]
      if (from < 1 || to > 65535 || to < from || to - from > 1000) {
        throw new Problem(at, `expected a port such as 80, 53/udp or 8000-8010, not ${word}`)
      }
      return Array.from({ length: to - from + 1 }, (_, index) => ({
        host: 0,
        guest: from + index,
        ...(protocol.toLowerCase() === "udp" ? { protocol: "udp" } : {})
      }))
    })
    const ports = [...state.ports, ...all]
    return ports.filter(
      (port, index) =>
        ports.findIndex(({ guest, protocol }) => guest === port.guest && protocol === port.protocol) === index
    )
  }

  private healthcheck(state: State, instruction: Instruction): Service["ready"] | undefined {
    const { at, flags, rest } = instruction
    const [, kind = "", command = ""] = /^(\S+)\s*(.*)$/s.exec(rest) ?? []
    if (kind.toUpperCase() === "NONE" && command === "") return undefined
    if (kind.toUpperCase() !== "CMD" || command === "") {
      throw new Problem(at, "expected HEALTHCHECK CMD command, or HEALTHCHECK NONE")
    }
    const millis = (name: string, otherwise: number) => {
      const text = flagOf(flags, name)
      // Docker reads 0 as its default, too.
      return (text === undefined ? 0 : durationOf(text, at)) || otherwise
    }
    const retries = flagOf(flags, "retries")
    if (retries !== undefined && !/^\d+$/.test(retries)) throw new Problem(at, `--retries=${retries} is not a number`)
    const times = retries === undefined || retries === "0" ? 3 : Number(retries)
    const interval = millis("interval", 30_000)
    const [program, ...args] = this.commandOf(state, { ...instruction, rest: command })
    if (program === undefined) throw new Problem(at, "expected a command")
    return {
      command: [program, ...args],
      // A sandbox waits for it to become ready, which it should notice soon.
      interval: Math.min(millis("start-interval", 1000), interval),
      timeout: millis("start-period", 0) + times * (interval + millis("timeout", 30_000))
    }
  }

  // ===========================================================================
  // RUN
  // ===========================================================================

  private run(state: State, instruction: Instruction, block: Block): State {
    const { at, flags, rest, source } = instruction
    const lookup = this.lookupIn(state)
    const { lexer } = this.input.dockerfile
    const network = flagOf(flags, "network")
    if (network !== undefined && network !== "none" && network !== "default") {
      throw new Problem(at, `--network=${network} is not supported, only none and default`)
    }
    const security = flagOf(flags, "security")
    if (security !== undefined && security !== "sandbox") {
      throw new Problem(at, `--security=${security} is not supported`)
    }
    const mounts: Array<StepMount> = []
    const secrets: { [name: string]: StepSecret } = {}
    for (const flag of flags) {
      if (flag.name !== "mount") continue
      const options = new Map(
        (flag.value ?? "").split(",").map((part) => {
          const end = part.indexOf("=")
          const name = end === -1 ? part : part.slice(0, end)
          return [name.toLowerCase(), end === -1 ? "" : expand(part.slice(end + 1), lexer, at, lookup)]
        })
      )
      this.addMount(state, flag, options, block, mounts, secrets)
    }
    // A variable of ENV hides the argument of the same name.
    const env = Object.fromEntries(Object.entries(state.args).filter(([name]) => !Object.hasOwn(state.env, name)))
    // With an ARG, a proxy is an argument as any other.
    const hidden = Object.entries(this.input.args).flatMap(([name, value]) =>
      proxies.has(name) && !Object.hasOwn(state.env, name) && !Object.hasOwn(state.args, name)
        ? [[name, Redacted.make(value)] as const]
        : []
    )
    const argv = wordsInJson(rest) ?? this.scriptOf(state, instruction)
    const [program, ...args] = argv
    if (program === undefined) throw new Problem(at, "expected a command")
    return this.with(state, instruction, {
      _tag: "Exec",
      argv: [program, ...args],
      ...(mounts.length === 0 ? {} : { mounts }),
      ...(hidden.length === 0 ? {} : { proxies: Object.fromEntries(hidden) }),
      options: {
        description: source,
        ...(Object.keys(env).length === 0 ? {} : { env }),
        ...(Object.keys(secrets).length === 0 ? {} : { secrets }),
        ...(network === "none" ? { network } : {})
      }
    })
  }

  /** The command of a RUN for the shell, with its here-documents. */
  private scriptOf({ shell }: State, { heredocs, rest }: Instruction): ReadonlyArray<string> {
    const [first] = heredocs
    if (first === undefined) return [...shell, rest]
    if (heredocIn(rest, this.input.dockerfile.lexer) === undefined) {
      return [...shell, [rest, ...heredocs.map(({ raw }) => raw)].join("\n")]
    }
    return first.content.startsWith("#!") ? ["/bin/sh", "-c", runFile, "sh", first.content] : [...shell, first.content]
  }

  private addMount(
    state: State,
    { at, value = "" }: Flag,
    options: ReadonlyMap<string, string>,
    block: Block,
    mounts: Array<StepMount>,
    secrets: { [name: string]: StepSecret }
  ): void {
    const type = options.get("type") ?? "bind"
    const known = mountOptions[type]
    if (known === undefined) throw new Problem(at, `mounts of the type ${type} are not supported`)
    for (const name of options.keys()) {
      if (name !== "type" && !known.includes(name)) {
        throw new Problem(at, `the option ${name} of a ${type} mount is not supported: --mount=${value}`)
      }
    }
    const get = (...names: ReadonlyArray<string>) =>
      names.map((name) => options.get(name)).find((text) => text !== undefined)
    const id = (name: string) => {
      const text = get(name)
      if (text !== undefined && !/^\d{1,10}$/.test(text)) throw new Problem(at, `${name}=${text} is not an id`)
      return text === undefined ? undefined : Number(text)
    }
    const bits = get("mode")
    if (bits !== undefined && !/^[0-7]{3,4}$/.test(bits)) throw new Problem(at, `mode=${bits} is not a mode`)
    const attributes = {
      mode: bits === undefined ? undefined : Number.parseInt(bits, 8),
      uid: id("uid"),
      gid: id("gid")
    }
    const path = get("target", "dst", "destination")
    const target = () => {
      if (path === undefined || path === "") throw new Problem(at, `a ${type} mount needs a target`)
      const whole = this.absolute(state, path)
      if (whole === "/") throw new Problem(at, "cannot mount over the root")
      return whole
    }
    switch (type) {
      case "cache": {
        const sharing = get("sharing") ?? "shared"
        if (sharing !== "shared" && sharing !== "locked") {
          throw new Problem(at, `sharing=${sharing} is not supported, only shared and locked`)
        }
        mounts.push({
          _tag: "Cache",
          target: target(),
          volume: volumeOf(get("id") ?? target()),
          isLocked: sharing === "locked",
          ...attributes
        })
        return
      }
      case "tmpfs": {
        const size = get("size")
        if (size !== undefined && !/^\d+(?:[kmg]i?)?b?$/i.test(size)) {
          throw new Problem(at, `size=${size} is not a size such as 64m`)
        }
        // The kernel knows no other units than k, m and g.
        mounts.push({ _tag: "Tmpfs", target: target(), size: size?.toLowerCase().replace(/i?b?$/, "") })
        return
      }
      case "secret": {
        const name = get("id") ?? (path === undefined ? "" : Path.posix.basename(path))
        const secret = this.input.secrets[name]
        const variable = get("env")
        if (name === "") throw new Problem(at, "a secret needs an id")
        if (secret === undefined) {
          const isRequired = options.has("required") && options.get("required") !== "false"
          if (isRequired) throw new Problem(at, `the secret ${name} is required, but not given`)
          return
        }
        if (variable !== undefined) secrets[variable] = secret
        if (variable === undefined || path !== undefined) {
          const file = secretName(name)
          const place = path === undefined ? `/run/secrets/${Path.posix.basename(name)}` : target()
          secrets[file] = { value: secret, as: "file" }
          mounts.push({ _tag: "Secret", target: place, name: file, ...attributes })
        }
        return
      }
      default: {
        const source = get("source", "src") ?? "/"
        const mustExist = get("from")
        const isSet = (name: string) => options.has(name) && options.get(name) !== "false"
        mounts.push({
          _tag: "Bind",
          target: target(),
          isWritable:
            isSet("rw") || isSet("readwrite") || options.get("ro") === "false" || options.get("readonly") === "false",
          from:
            mustExist === undefined
              ? this.contextSource([source], at, false)
              : { _tag: "Snapshot", definition: this.stageNamed(mustExist, at, block), paths: [source] }
        })
      }
    }
  }

  // ===========================================================================
  // COPY and ADD
  // ===========================================================================

  private added(state: State, instruction: Instruction, block: Block): State {
    const { at, flags, heredocs, keyword, rest, source } = instruction
    const { lexer } = this.input.dockerfile
    const lookup = this.lookupIn(state)
    const words = wordsInJson(rest) ?? rest.split(/\s+/)
    const files = words.slice(0, -1).flatMap((word) => {
      const found = heredocs.length === 0 ? undefined : heredocIn(word, lexer)
      const heredoc = found === undefined ? undefined : heredocs.find(({ name }) => name === found.name)
      if (heredoc === undefined) return []
      const { content, expands, name } = heredoc
      return [{ name, content: expands ? expandText(content, at, lookup) : content }]
    })
    const paths = words
      .slice(0, -1)
      .filter((word) => heredocs.length === 0 || heredocIn(word, lexer) === undefined)
      .map((word) => expand(word, lexer, at, lookup))
    const last = expand(words.at(-1) ?? "", lexer, at, lookup)
    const count = paths.length + files.length
    if (count === 0 || last === "") throw new Problem(at, `expected ${keyword} source destination`)
    const isFolder = last.endsWith("/") || last === "." || last.endsWith("/.")
    if (count > 1 && !isFolder) throw new Problem(at, `the destination of several sources must end with a slash`)
    const to = `${this.absolute(state, last)}${isFolder ? "/" : ""}`.replace(/\/+$/, "/")
    const options = { description: source, ...this.attributesOf(state, instruction) }
    const from = flagOf(flags, "from")
    const urls = keyword === "ADD" && from === undefined ? paths.filter((path) => /^https?:\/\//.test(path)) : []
    const others = paths.filter((path) => !urls.includes(path))
    const repository = others.find((path) => keyword === "ADD" && /^(?:git@|git:\/\/|ssh:\/\/)/.test(path))
    if (repository !== undefined || urls.some((url) => /\.git(?:#|$)/.test(url))) {
      throw new Problem(at, "ADD of a git repository is not supported: use RUN git clone")
    }
    const wrong = urls.find((url) => !URL.canParse(url))
    if (wrong !== undefined) throw new Problem(at, `${wrong} is not a URL`)
    const checksum = flagOf(flags, "checksum")
    if (checksum !== undefined && (urls.length === 0 || !/^sha256:[0-9a-f]{64}$/.test(checksum))) {
      throw new Problem(at, "expected --checksum=sha256:… and a URL")
    }
    const sources: ReadonlyArray<AddSource> = [
      ...(others.length === 0
        ? []
        : from === undefined
          ? [this.contextSource(others, at, keyword === "ADD")]
          : [{ _tag: "Snapshot" as const, definition: this.stageNamed(from, at, block), paths: others }]),
      ...urls.map((url): AddSource => ({ _tag: "Url", url, ...(checksum === undefined ? {} : { checksum }) })),
      ...(files.length === 0 ? [] : [{ _tag: "Texts" as const, files }])
    ]
    return sources.reduce((state, from) => this.with(state, instruction, { _tag: "Add", from, to, options }), state)
  }

  private attributesOf(state: State, { at, flags }: Instruction): { readonly owner?: string; readonly mode?: number } {
    const { lexer } = this.input.dockerfile
    const expanded = (name: string) => {
      const text = flagOf(flags, name)
      return text === undefined ? undefined : expand(text, lexer, at, this.lookupIn(state))
    }
    const [mode, owner] = [expanded("chmod"), expanded("chown")]
    if (mode !== undefined && !/^[0-7]{3,4}$/.test(mode)) {
      throw new Problem(at, `--chmod=${mode} is not supported: expected an octal mode such as 755`)
    }
    return {
      ...(owner === undefined ? {} : { owner: ownerOf(userIn(owner, at)) }),
      ...(mode === undefined ? {} : { mode: Number.parseInt(mode, 8) })
    }
  }

  /** Files of the build context, which must exist. */
  private contextSource(paths: ReadonlyArray<string>, at: Position, unpack: boolean): AddSource {
    const { context, ignore } = this.input
    if (context === undefined) throw new Problem(at, "it copies from the build context, but none is given")
    const isIgnored = ignorerOf(ignore)
    const hasExceptions = ignore.some((line) => line.trim().startsWith("!"))
    const isLeftOut = (path: string): boolean => {
      if (path === "" || !isIgnored(path)) return false
      const place = Path.join(context, path)
      return (
        !hasExceptions ||
        !FsSync.lstatSync(place).isDirectory() ||
        FsSync.readdirSync(place).every((name) => isLeftOut(`${path}/${name}`))
      )
    }
    const followed = paths.map((path) => {
      const inside = followLinks(context, path)
      if (isWrongPattern(path))
        throw new Problem(at, `${path} is not a pattern: its brackets have no end, or a wrong range`)
      if (inside === undefined) throw new Problem(at, `the symbolic links of ${path} have no end`)
      if (hasWildcard(inside)) return inside
      const stats = FsSync.lstatSync(Path.join(context, inside), { throwIfNoEntry: false })
      if (stats === undefined) throw new Problem(at, `${path} does not exist in the build context ${context}`)
      if (inside !== "" && stats.isSymbolicLink()) {
        throw new Problem(at, `${path} is a symbolic link, which is not supported as a source`)
      }
      if (isLeftOut(inside)) throw new Problem(at, `${path} is left out by the ignore file`)
      return inside
    })
    return { _tag: "Context", root: context, paths: followed, ignore, unpack }
  }

  /** A stage before this one, or an image. */
  private stageNamed(name: string, at: Position, block: Block): Definition {
    const stage = this.find(name, block.index)
    if (stage !== undefined) return this.definitionOf(stage, `${this.input.name}.${stage.name ?? stage.index}`)
    if (/^\d+$/.test(name) || name.toLowerCase() === block.name)
      throw new Problem(at, `there is no stage ${name} before this one`)
    if (name.includes("$")) throw new Problem(at, "variables in --from are not supported")
    const found = this.imageDefinitions.get(name)
    const image = { name: `image-${identifier(name)}`, image: name, steps: [], defaults: {}, labels: {} }
    const made = found ?? this.input.define({ ...image, declaredAt: this.lineOf(at) })
    this.imageDefinitions.set(name, made)
    return made
  }
}

type WithoutPlace<S> = S extends unknown
  ? Omit<S, "declaredAt" | "options"> & { readonly options?: Extract<S, Step>["options"] }
  : never

const mountOptions: { readonly [type: string]: ReadonlyArray<string> } = {
  bind: ["target", "dst", "destination", "source", "src", "from", "ro", "readonly", "rw", "readwrite"],
  cache: ["id", "target", "dst", "destination", "sharing", "mode", "uid", "gid"],
  secret: ["id", "target", "dst", "destination", "env", "required", "mode", "uid", "gid"],
  tmpfs: ["target", "dst", "destination", "size"]
}

const flagOf = (flags: ReadonlyArray<Flag>, name: string): string | undefined =>
  flags.findLast((flag) => flag.name === name)?.value

const isUser: (text: string) => boolean = Schema.is(User)

const userIn = (text: string, at: Position): string => {
  if (!isUser(text)) throw new Problem(at, `expected a user such as app or 1000:1000, not "${text}"`)
  return text
}

/** Follows links to folders in a path of a context, which they cannot leave. Returns nothing for a loop. */
const followLinks = (context: string, path: string): string | undefined => {
  let rest = cleaned(path).split("/")
  let done: Array<string> = []
  for (let links = 0; links < 255;) {
    const [name = "", ...others] = rest
    // The last name is not followed, nor is what a wildcard finds.
    if (others.length === 0 || hasWildcard(name)) return cleaned([...done, ...rest].join("/"))
    rest = others
    if (name === "..") done.pop()
    else if (name !== "" && name !== ".") done.push(name)
    const place = Path.join(context, ...done)
    if (FsSync.lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink() !== true) continue
    links++
    const target = FsSync.readlinkSync(place)
    done = target.startsWith("/") ? [] : done.slice(0, -1)
    rest = [...target.split("/"), ...rest]
  }
  return undefined
}

/** Runs the text of a program, which says in its first line what runs it. */
const runFile = 'f=$(mktemp) && printf %s "$1" > "$f" && chmod 700 "$f" && { "$f"; s=$?; rm -f "$f"; exit "$s"; }'

/** The volume of a cache. All Dockerfiles with the same id share it, as in Docker. */
const volumeOf = (id: string): string => `build-cache-${identifier(id)}`

/** Turns any text into a part of a name that no other text has. */
const identifier = (text: string): string =>
  `${text
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 60)}-${Crypto.hash("sha256", text).slice(0, 8)}`

/** A name for the file of a secret. */
const secretName = (id: string): string => (/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(id) ? id : `_${identifier(id)}`)

const unitMillis: { readonly [unit: string]: number } = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

const durationOf = (text: string, at: Position): number => {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|[smh])/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) {
    throw new Problem(at, `expected a duration such as 30s or 1m30s, not ${text}`)
  }
  return parts.reduce((sum, [, count, unit = ""]) => sum + Number(count) * (unitMillis[unit] ?? 0), 0)
}

/** Lays a definition out as units: its disk-changing steps with everything in effect at each. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Network from "../../Network.ts"
import type { LaunchDefaults } from "../../SandboxConfig.ts"
import type { AddSource, Definition, Step } from "../../Snapshot.ts"
import { hasWildcard } from "../dockerfile/ignoreFile.ts"
import { hostPathProblem } from "../host/fileFailure.ts"
import * as FailureText from "../report/failureText.ts"
import { checkDefinition } from "../definition/check.ts"
import * as Secrets from "../definition/secrets.ts"
import { declaredAt, invalid } from "../config/validation.ts"

export type DiskStep<E, R> = Extract<
  Step<E, R>,
  { readonly _tag: "Shell" | "Exec" | "Copy" | "Add" | "Write" | "Workdir" | "Effect" }
>

/** The sources whose content a step adds to its disk, or binds. */
export const addedBy = (step: Step<unknown, unknown>): ReadonlyArray<AddSource> =>
  step._tag === "Add"
    ? [step.from]
    : step._tag === "Exec"
      ? (step.mounts ?? []).flatMap((mount) => (mount._tag === "Bind" ? [mount.from] : []))
      : []

/** A network with a comparable key. */
export interface NetworkChoice {
  readonly input: Network.NetworkInput | undefined
  readonly id: string
}

export const networkChoice = (input: Network.NetworkInput | undefined): NetworkChoice => ({
  input,
  id: JSON.stringify(input ?? "public")
})

/** A step with the environment, user and network that apply to it. */
export interface Unit<E = never, R = never> {
  /** From 1. */
  readonly index: number
  readonly step: DiskStep<E, R>
  readonly description: string
  readonly environment: { readonly [name: string]: string }
  readonly workdir: string | undefined
  readonly user: string | undefined
  readonly network: NetworkChoice
  /** `/tmp` is on the disk while it runs. */
  readonly keepsTmp: boolean
  /** Its result is kept unless only the last is. */
  readonly isMarked: boolean
  /** It and all later steps run in every build. */
  readonly isForced: boolean
}

export interface Prepared<E = never, R = never> {
  readonly definition: Definition<E, R>
  readonly image: string
  readonly defaults: LaunchDefaults
  readonly units: ReadonlyArray<Unit<E, R>>
}

/** Checks a definition and lays out its steps, those of its base first. */
export const prepare = Effect.fnUntraced(function* <E, R>(
  method: string,
  definition: Definition<E, R>
): Effect.fn.Return<Prepared<E, R>, LightboxError> {
  const defaults = yield* checkDefinition(method, "definition", definition)
  const chain: Array<Definition<E, R>> = [definition]
  let base = definition.base
  while (base._tag === "Definition") {
    yield* checkDefinition(method, "base", base.definition)
    chain.unshift(base.definition)
    base = base.definition.base
  }
  const units: Array<Unit<E, R>> = []
  for (const part of chain) {
    let environment: { readonly [name: string]: string } = {}
    let workdir: string | undefined
    let user: string | undefined
    let isForced = units.at(-1)?.isForced ?? false
    // The builder is the same for those of a base and those after them.
    const keepsTmp = part.keepsTmp === true || units.at(-1)?.keepsTmp === true
    const mark = () => {
      const last = units.pop()
      if (last !== undefined) units.push({ ...last, isMarked: true })
    }
    for (const [position, step] of part.steps.entries()) {
      if (step._tag === "Copy") yield* checkSource(method, `steps.${position}.from`, step.from, step.declaredAt)
      for (const source of addedBy(step)) {
        if (source._tag !== "Context") continue
        for (const path of source.paths.filter((path) => !hasWildcard(path))) {
          yield* checkSource(method, `steps.${position}.from`, Path.join(source.root, path), step.declaredAt)
        }
      }
      switch (step._tag) {
        case "Env": {
          environment = { ...environment, ...step.variables }
          break
        }
        case "User": {
          user = step.user
          break
        }
        case "Checkpoint": {
          mark()
          break
        }
        case "SkipCache": {
          isForced = true
          break
        }
        default: {
          if (step._tag === "Workdir") workdir = step.path
          isForced = isForced || step.options.cache === "never"
          units.push({
            index: units.length + 1,
            step,
            description: Secrets.redact(Secrets.ofSteps([step]), describe(step)),
            environment,
            workdir,
            user,
            network: networkChoice(step.options.network ?? definition.options.network),
            keepsTmp,
            isMarked: false,
            isForced
          })
        }
      }
    }
    // The result of a base is worth keeping.
    if (part !== definition) mark()
  }
  return { definition, image: base.reference, defaults, units }
})

const describe = (step: DiskStep<unknown, unknown>): string => {
  if (step.options.description !== undefined) return step.options.description
  switch (step._tag) {
    case "Shell":
      return step.script.trim().split("\n")[0] ?? ""
    case "Exec":
      return FailureText.showArgv(step.argv)
    case "Copy":
      return `copy ${step.from} to ${step.to}`
    case "Add":
      return `add to ${step.to}`
    case "Write":
      return `write ${step.path}`
    case "Workdir":
      return `workdir ${step.path}`
    case "Effect":
      return step.name
  }
}

/** A folder that is missing is noticed before an image is pulled. */
const checkSource = (
  method: string,
  field: string,
  from: string,
  line: string | undefined
): Effect.Effect<void, LightboxError> => {
  const path = Path.resolve(from)
  const refuse = (problem: string) => declaredAt(line)(invalid(method, field, problem))
  return Effect.tryPromise({
    try: () => Fs.stat(path),
    catch: (cause) => refuse(hostPathProblem(path, cause))
  }).pipe(
    Effect.filterOrFail(
      (stats) => stats.isFile() || stats.isDirectory(),
      () => refuse(`${path} is neither a file nor a folder`)
    ),
    Effect.asVoid
  )
}

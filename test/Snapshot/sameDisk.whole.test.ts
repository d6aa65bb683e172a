/** Whichever steps ran, and wherever a build paused: the same disk, file by file. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "./support.ts"

/** Where steps work: folders of the disk, and some that are in memory. */
const Path = Schema.Literals(["/root/a", "/root/b", "/srv/deep/c", "/etc/d", "/tmp/e", "/run/f", "/dev/shm/g"])

const Action = Schema.TaggedUnion({
  Append: { path: Path },
  Move: { from: Path, to: Path },
  Remove: { path: Path },
  Link: { to: Path, path: Path },
  Chmod: { path: Path, mode: Schema.Literals(["600", "755", "4711"]) },
  Chown: { path: Path },
  /** What a step sees of the ones before it. */
  Look: {},
  /** A command that would run forever, and what it writes if it can. */
  Background: { path: Path },
  Write: { path: Path, mode: Schema.Literals([0o600, 0o755]) },
  Workdir: { path: Schema.Literals(["/srv/deep", "/new/folder", "/tmp/work"]) },
  User: { user: Schema.Literals(["root", "app"]) },
  Variable: { value: Schema.Literals(["one", "two"]) },
  /** A step that changes what it finds, and fails before it succeeds. */
  FailsFirst: { path: Path },
  Checkpoint: {}
})

const Recipe = Schema.Struct({
  actions: Schema.Array(Action).check(Schema.isMinLength(1), Schema.isMaxLength(12)),
  /** How many of the first actions an earlier build has run. */
  earlier: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 })),
  policies: Schema.Tuple([
    Schema.Literals(["auto", "every-step", "final", "marked"]),
    Schema.Literals(["auto", "every-step", "final", "marked"])
  ])
})

const name = "same"

/** A script that never fails: what cannot be done leaves a note on the disk. */
const noting = (script: string): string => `{ ${script}; } 2>> /var/notes || echo "failed: $?" >> /var/notes`

const define = (actions: ReadonlyArray<typeof Action.Type>, isPlain: boolean): Snapshot.Definition<LightboxError> => {
  const prepared = Snapshot.make(name, Support.image).pipe(
    Snapshot.shell("mkdir -p /srv/deep; touch /var/notes; chmod 666 /var/notes")
  )
  return actions.reduce<Snapshot.Definition<LightboxError>>((definition, action, index) => {
    const shell = (script: string) => Snapshot.shell(definition, noting(script))
    switch (action._tag) {
      case "Append":
        return shell(`echo "${index} $WHO $(pwd) $(id -un)" >> ${action.path}`)
      case "Move":
        return shell(`mv ${action.from} ${action.to}`)
      case "Remove":
        return shell(`rm -r ${action.path}`)
      case "Link":
        return shell(`ln -sf ${action.to} ${action.path}`)
      case "Chmod":
        return shell(`chmod ${action.mode} ${action.path}`)
      case "Chown":
        return shell(`chown app ${action.path}`)
      case "Look":
        return shell("{ ls -a /tmp /run /dev/shm; cat /tmp/* /run/*; pgrep sleep; env; } >> /var/notes")
      case "Background":
        return shell(`{ exec > /dev/null; sleep 1000; } & echo "${index} started" >> ${action.path}`)
      case "Write":
        return Snapshot.write(definition, action.path.replace(/^\/(tmp|run|dev\/shm)/, "/opt"), `${index}\n`, {
          mode: action.mode,
          owner: "app"
        })
      case "Workdir":
        return Snapshot.workdir(definition, action.path)
      case "User":
        return Snapshot.user(definition, action.user)
      case "Variable":
        return Snapshot.env(definition, { WHO: action.value })
      case "FailsFirst": {
        let attempts = isPlain ? 1 : 0
        return Snapshot.step(
          definition,
          `${index}`,
          (sandbox) =>
            Effect.suspend(() =>
              sandbox.shell(
                `echo "${index} of $WHO" >> /var/notes; ${noting(`rm ${action.path}`)}; [ $ATTEMPT -ge 2 ]`,
                {
                  check: true,
                  env: { ATTEMPT: `${++attempts}` }
                }
              )
            ),
          { retry: Schedule.recurs(1) }
        )
      }
      case "Checkpoint":
        return isPlain ? definition : Snapshot.checkpoint(definition)
    }
  }, prepared)
}

/** The disk that a build leaves, or the step at which it fails and how. */
const outcome = (definition: Snapshot.Definition<LightboxError>, options: Snapshot.BuildOptions) =>
  Snapshot.build(definition, options).pipe(
    Effect.andThen(Support.disk(name)),
    Effect.catch(({ reason, step }) => Effect.succeed({ failed: `step ${step?.index}: ${reason._tag}` }))
  )

describe("the disk of a build", () => {
  it.effect.prop(
    "is the same whichever steps ran and wherever checkpoints were made",
    [Recipe],
    ([{ actions, earlier, policies }]) =>
      Effect.gen(function* () {
        const whole = yield* Support.withTwin(outcome(define(actions, true), { checkpoints: "final" }))
        const pieces = yield* Support.withTwin(
          Effect.gen(function* () {
            yield* Effect.ignore(Snapshot.build(define(actions.slice(0, earlier), false), { checkpoints: policies[0] }))
            return yield* outcome(define(actions, false), { checkpoints: policies[1] })
          })
        )
        assert.deepStrictEqual(pieces, whole)
      }),
    { timeout: 120_000, arbitrary: { runs: 40 } }
  )
})

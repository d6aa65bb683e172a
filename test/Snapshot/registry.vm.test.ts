/** Builds on real microVMs whose image comes from a registry. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Microsandbox from "../../src/Microsandbox.ts"
import type { Plan } from "../../src/Plan.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import type * as SandboxConfig from "../../src/SandboxConfig.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Registry from "../images/Registry.ts"
import * as Support from "../microvm/support.ts"
import { freePort } from "../support.ts"

const reasonsIn = ({ steps }: Plan) =>
  steps.map(({ verdict }) => (verdict._tag === "Hit" ? "Hit" : verdict.reason._tag))

layer(Support.layer, { excludeTestServices: true })("a build from a registry", (it) => {
  it.effect(
    "boots nothing while the tag stands, and builds anew when it has moved, as the plan says",
    () =>
      Effect.gen(function* () {
        const driver = yield* Microsandbox.Microsandbox
        const observer = yield* Support.Observer
        const fs = yield* FileSystem.FileSystem
        const folder = yield* fs.makeTempDirectoryScoped()
        yield* fs.writeFileString(`${folder}/logins`, Registry.login.line)
        const { authority, ...tls } = yield* Registry.certificate
        const archives = yield* Registry.archives
        const images = `${folder}/images`
        const plain = yield* Registry.serve({ folder: images })
        const secured = yield* Registry.serve({ folder: images, tls, logins: `${folder}/logins` })
        const { password, username } = Registry.login
        const registry = { username, password: Redacted.make(password), caCerts: authority }
        const image = `${secured}/team/app:1`
        const definition = Snapshot.make("followed", image).pipe(
          Snapshot.builder({ registry }),
          Snapshot.shell("ls /moved > /root/seen 2>&1; true")
        )
        const always = { pullPolicy: "always" } as const
        const bootsOf = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
          const before = observer.count("boot")
          const result = yield* effect
          return [result, observer.count("boot") - before] as const
        })

        yield* Registry.push(archives.before, `${plain}/team/app:1`)
        const planned = yield* Snapshot.plan(definition, always)
        assert.deepStrictEqual(reasonsIn(planned), ["NeverBuilt"])
        const [first, boots] = yield* bootsOf(Snapshot.build(definition, always))
        assert.deepStrictEqual([first.stepsRun, boots], [1, 1])
        assert.deepStrictEqual([first.key, first.imageDigest], [planned.key, planned.imageDigest ?? ""])
        assert.strictEqual((yield* driver.getImage(image)).digest, first.imageDigest)

        const [again, bootsAgain] = yield* bootsOf(Snapshot.build(definition, always))
        assert.deepStrictEqual([again.digest, again.stepsRun, bootsAgain], [first.digest, 0, 0])
        assert.isTrue((yield* Snapshot.plan(definition, always)).isCached)

        yield* Registry.push(archives.after, `${plain}/team/app:1`)
        assert.isTrue((yield* Snapshot.plan(definition)).isCached)
        const [moved, bootsOfPlan] = yield* bootsOf(Snapshot.plan(definition, always))
        assert.deepStrictEqual([reasonsIn(moved), bootsOfPlan], [["BaseChanged"], 0])
        const [second, bootsMoved] = yield* bootsOf(Snapshot.build(definition, always))
        assert.deepStrictEqual([second.stepsRun, bootsMoved, second.key], [1, 1, moved.key])
        const seen = yield* Sandbox.run({ snapshot: second }, (sandbox) => sandbox.readFileString("/root/seen"))
        assert.strictEqual(seen, "/moved\n")

        // Launches say what is wrong, too, though the runtime does not.
        const failing = Effect.fnUntraced(function* (options: {
          readonly image: string
          readonly registry?: SandboxConfig.Registry
        }) {
          const { message, reason } = yield* Effect.flip(Sandbox.run({ ...options, ...always }, () => Effect.void))
          assert.notInclude(message, password)
          return reason._tag === "ImageUnavailable" ? reason.kind : reason._tag
        })
        assert.deepStrictEqual(
          [
            yield* failing({ image: `${secured}/team/app:2`, registry }),
            yield* failing({ image, registry: { caCerts: authority } }),
            yield* failing({ image, registry: { username, password: registry.password } }),
            yield* failing({ image: `localhost:${yield* freePort}/team/app:1` })
          ],
          ["NotFound", "Unauthorized", "Tls", "Unreachable"]
        )
        yield* Support.assertNothingLeft({ snapshots: ["followed"] })
      }),
    900_000
  )
})

/** A snapshot of a real microVM travels through a real registry. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import { run } from "../host/Subprocess.ts"
import * as Packages from "../host/Packages.ts"
import * as Busybox from "../images/Busybox.ts"
import * as Registry from "../images/Registry.ts"
import * as Support from "../microvm/support.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"

const app = (version: number) =>
  Snapshot.make("travelled", Busybox.reference).pipe(
    // 20 MB that cannot be compressed.
    Snapshot.shell(`head -c 20000000 /dev/urandom > /root/ballast; echo ${version} > /version`),
    Snapshot.defaults({ env: { VERSION: `${version}` } })
  )

/** Removes a name and everything that builds could use. */
const forget = Effect.andThen(Snapshot.remove("travelled"), Snapshot.prune())

const seen = Effect.map(
  Sandbox.run({ snapshot: "travelled" }, (sandbox) =>
    sandbox.shell("cat /version; wc -c < /root/ballast; echo $VERSION", { check: true })
  ),
  ({ stdout }) => stdout
)

layer(Support.layer, { excludeTestServices: true })("a snapshot in a registry", (it) => {
  it.effect(
    "comes back whole, is a result for builds, moves only what changed, and is an artifact for other tools",
    () =>
      Effect.gen(function* () {
        const observer = yield* Support.Observer
        const fs = yield* FileSystem.FileSystem
        const folder = yield* fs.makeTempDirectoryScoped()
        yield* Packages.ensure("a registry for tests", ["skopeo"])
        yield* fs.writeFileString(`${folder}/logins`, Registry.login.line)
        const { authority, ...tls } = yield* Registry.certificate
        const plain = yield* Registry.serve({ folder: `${folder}/plain` })
        const secured = yield* Registry.serve({ folder: `${folder}/secured`, tls, logins: `${folder}/logins` })
        const { password, username } = Registry.login
        const registry = { username, password: Redacted.make(password), caCerts: authority }

        const built = yield* Snapshot.build(app(1), { checkpoints: "final" })
        const pushed = yield* Snapshot.push("travelled", `${secured}/team/app:1`, { registry })
        yield* forget
        yield* Support.assertNothingLeft()

        // Without trust in its certificate.
        const { reason } = yield* Effect.flip(Snapshot.pull("travelled", `${secured}/team/app:1`))
        assert.deepInclude(reason, { _tag: "TransferFailed", kind: "Tls" })
        const pulled = yield* Snapshot.pull("travelled", `${secured}/team/app@${pushed.digest}`, { registry })
        assert.deepStrictEqual([pulled.key, pulled.digest, yield* seen], [built.key, built.digest, "1\n20000000\n1\n"])
        const boots = observer.count("boot")
        assert.strictEqual((yield* Snapshot.build(app(1))).stepsRun, 0)
        assert.strictEqual(observer.count("boot"), boots)

        // The next generation, on the disk of the one that was pulled.
        const next = Snapshot.from("travelled", app(1)).pipe(Snapshot.shell("echo 2 > /version"))
        assert.strictEqual((yield* Snapshot.build(next, { checkpoints: "final" })).stepsRun, 1)
        const sent = yield* Snapshot.push("travelled", `${secured}/team/app:2`, { registry })
        assert.isBelow(sent.moved, 0.03 * sent.total)

        const copy = `${plain}/other/copy:1`
        const flags = ["--src-tls-verify=false", "--src-creds", `${username}:${password}`, "--dest-tls-verify=false"]
        yield* run("skopeo", [
          "--insecure-policy",
          "copy",
          ...flags,
          `docker://${secured}/team/app:2`,
          `docker://${copy}`
        ])
        const raw = yield* run("skopeo", ["inspect", "--raw", "--tls-verify=false", `docker://${copy}`])
        assert.strictEqual(JSON.parse(raw).artifactType, "application/vnd.effect-lightbox.snapshot.v1")
        yield* forget
        yield* Snapshot.pull("travelled", copy)
        assert.strictEqual(yield* seen, "2\n20000000\n1\n")
        yield* forget
        yield* Support.assertNothingLeft()
      }),
    900_000
  )
})

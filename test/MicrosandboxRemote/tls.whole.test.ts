/** A gateway with a certificate, which openssl makes. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Tls from "node:tls"
import * as Fs from "node:fs"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Registry from "../images/Registry.ts"
import { failsWith } from "../Microsandbox/Bench.ts"
import * as Support from "./support.ts"

it.live("a host is reached over TLS, and only if its certificate is trusted", () =>
  Effect.gen(function* () {
    const { authority, certificate, key } = yield* Registry.certificate
    const { url } = yield* Support.host({}, { tls: { certificate, key } })
    assert.match(url, /^https:/)
    const layer = yield* Support.client(url)
    const refused = yield* failsWith("HostUnavailable", Effect.scoped(Layer.build(layer)))
    assert.strictEqual(refused.kind, "Unreachable")
    assert.match(refused.problem, /certificate is not trusted .*NODE_EXTRA_CA_CERTS/)

    const trusted = Tls.getCACertificates("default")
    yield* Effect.acquireRelease(
      Effect.sync(() => Tls.setDefaultCACertificates([...trusted, Fs.readFileSync(authority, "utf8")])),
      () => Effect.sync(() => Tls.setDefaultCACertificates(trusted))
    )
    const { stdout } = yield* Sandbox.run({ image: "busybox" }, (sandbox) => sandbox.shell("echo encrypted")).pipe(
      Effect.provide(yield* Support.client(url))
    )
    assert.strictEqual(stdout, "encrypted\n")
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)

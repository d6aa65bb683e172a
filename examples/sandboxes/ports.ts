/** Reaches a web server in a sandbox from this machine. Build it first: snapshots/list.ts */
import { Console, Effect } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Sandbox.run({ snapshot: "tools", name: "web", ports: { 8080: 80 } }, (sandbox) =>
  Effect.gen(function* () {
    yield* sandbox.shell("mkdir /www && echo hello > /www/index.html && httpd -h /www > /dev/null 2>&1")

    const response = yield* HttpClient.get("http://127.0.0.1:8080")
    yield* Console.log(yield* response.text)
  })
).pipe(Effect.provide([MicrosandboxLocal.layer(), FetchHttpClient.layer]), Lightbox.runMain())

/** Pattern 2: what one sandbox builds, another one runs. Build it first: snapshots/define.promise.ts */
import { runInSandbox } from "effect-lightbox/promise"

await runInSandbox(
  { snapshot: "python-ci", name: "build", mounts: { "/src": "./my-project", "/artifacts": { volume: "build-out" } } },
  (sb) => sb.shell("python3 -m zipapp /src --python '/usr/bin/env python3' --output /artifacts/myapp")
)

const out = await runInSandbox(
  { snapshot: "python-ci", name: "run", mounts: { "/app": { volume: "build-out" } } },
  (sb) => sb.exec("/app/myapp", ["--version"])
)
console.log(out.stdout())

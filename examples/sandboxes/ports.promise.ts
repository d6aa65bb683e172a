/** Reaches a web server in a sandbox from this machine. Build it first: snapshots/list.promise.ts */
import { runInSandbox } from "effect-lightbox/promise"

await runInSandbox({ snapshot: "tools", name: "web", ports: { 8080: 80 } }, async (sb) => {
  await sb.shell("mkdir /www && echo hello > /www/index.html && httpd -h /www > /dev/null 2>&1")

  const response = await fetch("http://127.0.0.1:8080")
  console.log(await response.text())
})

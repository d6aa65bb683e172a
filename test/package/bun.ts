/** Imports every public module, under Bun for one: `bun test/package/bun.ts`, after a build. */
import * as Sources from "./sources.ts"

for (const name of Sources.entryPoints) {
  await import(`effect-lightbox/${name}`)
  console.log(`effect-lightbox/${name}`)
}

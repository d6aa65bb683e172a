#!/usr/bin/env node
/**
 * The program `lightbox`.
 */
import { runMain } from "./Lightbox.ts"
import { main } from "./internal/cli/lightbox.ts"

main(process.argv.slice(2)).pipe(runMain())

import * as Examples from "./examples.ts"

Examples.suite("examples with promises", Examples.onPromises)

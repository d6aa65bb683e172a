import * as Examples from "./examples.ts"

Examples.suite("examples that need no others", Examples.chosenApart, [])

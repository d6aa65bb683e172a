/** The programs behind the guest's files in `/bin`. */
import * as Effect from "effect/Effect"
import type { Program } from "../kernel/process.ts"
import { program as sh } from "../shell/shell.ts"
import * as Archive from "./archive.ts"
import { echo } from "./echo.ts"
import * as Files from "./files.ts"
import { kill } from "./kill.ts"
import * as List from "./list.ts"
import * as Mount from "./mount.ts"
import { printf } from "./printf.ts"
import { sed } from "./sed.ts"
import * as System from "./system.ts"
import { test } from "./test.ts"
import * as Text from "./text.ts"

export const programs: { readonly [name: string]: Program } = {
  ...Archive,
  ...Files,
  ...List,
  ...Mount,
  ...System,
  ...Text,
  "[": test,
  echo,
  egrep: Text.grep,
  false: () => Effect.succeed(1),
  fgrep: Text.grep,
  kill,
  printf,
  sed,
  sh,
  test,
  true: () => Effect.succeed(0)
}

/** The programs behind the guest's files in `/bin`. */
import type { Program } from "../kernel/process.ts"
import { program as sh } from "../shell/shell.ts"
import { checksum, tar } from "./archive.ts"
import { echo } from "./echo.ts"
import * as Files from "./files.ts"
import { kill } from "./kill.ts"
import * as List from "./list.ts"
import { printf } from "./printf.ts"
import { sed } from "./sed.ts"
import * as System from "./system.ts"
import { test } from "./test.ts"
import * as Text from "./text.ts"

/** A shell builtin that is a program, too. */
const program =
  (run: (process: Parameters<Program>[0], argv: ReadonlyArray<string>) => ReturnType<Program>): Program =>
  (process) =>
    run(process, process.argv)

export const programs: { readonly [name: string]: Program } = {
  "[": program(test),
  base64: Text.base64,
  basename: System.basename,
  cat: Text.cat,
  chmod: Files.chmod,
  chown: Files.chown,
  cp: Files.cp,
  cut: Text.cut,
  date: System.date,
  df: List.df,
  dirname: System.dirname,
  du: List.du,
  echo: program(echo),
  egrep: Text.grep,
  env: System.env,
  false: System.refuse,
  fgrep: Text.grep,
  find: List.find,
  grep: Text.grep,
  head: Text.head,
  hostname: System.hostname,
  id: System.id,
  kill: program(kill),
  ln: Files.ln,
  ls: List.ls,
  md5sum: checksum("md5"),
  mkdir: Files.mkdir,
  mktemp: Files.mktemp,
  mv: Files.mv,
  nc: System.nc,
  nohup: System.nohup,
  nproc: System.nproc,
  pgrep: System.pgrep,
  pkill: System.pkill,
  printf: program(printf),
  ps: System.ps,
  pwd: System.pwd,
  readlink: Files.readlink,
  realpath: Files.realpath,
  reboot: System.reboot,
  rm: Files.rm,
  rmdir: Files.rmdir,
  sed,
  seq: System.seq,
  setsid: System.setsid,
  sh,
  sha1sum: checksum("sha1"),
  sha256sum: checksum("sha256"),
  sha512sum: checksum("sha512"),
  sleep: System.sleep,
  sort: Text.sort,
  stat: List.stat,
  stty: System.stty,
  sync: System.sync,
  tail: Text.tail,
  tar,
  tee: Text.tee,
  test: program(test),
  timeout: System.timeout,
  touch: Files.touch,
  tr: Text.tr,
  true: System.succeed,
  tty: System.tty,
  uname: System.uname,
  uniq: Text.uniq,
  wc: Text.wc,
  which: System.which,
  whoami: System.whoami,
  xargs: List.xargs,
  yes: System.yes
}

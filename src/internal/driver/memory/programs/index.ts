/**
 * The programs that the guest's files in `/bin` stand for.
 */
import type { Program } from "../kernel/process.ts"
import { program as sh } from "../shell/shell.ts"
import * as Archive from "./archive.ts"
import { echo } from "./echo.ts"
import * as Files from "./files.ts"
import { kill } from "./kill.ts"
import * as List from "./list.ts"
import { printf } from "./printf.ts"
import { sed } from "./sed.ts"
import * as System from "./system.ts"
import { test } from "./test.ts"
import * as Text from "./text.ts"

/** A command of the shell that is a program as well. */
const program =
  (run: (process: Parameters<Program>[0], argv: ReadonlyArray<string>) => ReturnType<Program>): Program =>
  (process) =>
    run(process, process.argv)

export const programs: { readonly [name: string]: Program } = {
  "[": program(test),
  base64: Text.base64,
  basename: System.basename,
  cat: Text.cat,
  chgrp: Files.chown,
  chmod: Files.chmod,
  chown: Files.chown,
  cmp: Text.cmp,
  cp: Files.cp,
  cut: Text.cut,
  date: System.date,
  dd: Files.dd,
  df: List.df,
  dirname: System.dirname,
  du: List.du,
  echo: program(echo),
  egrep: Text.grep,
  env: System.env,
  false: System.fail,
  fgrep: Text.grep,
  find: List.find,
  grep: Text.grep,
  gunzip: Archive.gzip,
  gzip: Archive.gzip,
  halt: System.halt,
  head: Text.head,
  hostname: System.hostname,
  id: System.id,
  install: Files.install,
  kill: program(kill),
  ln: Files.ln,
  ls: List.ls,
  md5sum: Archive.checksum("md5"),
  mkdir: Files.mkdir,
  mktemp: Files.mktemp,
  mount: System.mount,
  mv: Files.mv,
  nc: System.nc,
  nl: Text.nl,
  nohup: System.nohup,
  nproc: System.nproc,
  pgrep: System.pgrep,
  pkill: System.pgrep,
  poweroff: System.halt,
  printenv: System.printenv,
  printf: program(printf),
  ps: System.ps,
  pwd: System.pwd,
  readlink: Files.readlink,
  realpath: Files.readlink,
  reboot: System.reboot,
  rev: Text.rev,
  rm: Files.rm,
  rmdir: Files.rmdir,
  sed,
  seq: System.seq,
  setsid: System.setsid,
  sh,
  sha1sum: Archive.checksum("sha1"),
  sha256sum: Archive.checksum("sha256"),
  sha512sum: Archive.checksum("sha512"),
  sleep: System.sleep,
  sort: Text.sort,
  stat: List.stat,
  stty: System.stty,
  sync: System.sync,
  tac: Text.tac,
  tail: Text.tail,
  tar: Archive.tar,
  tee: Text.tee,
  test: program(test),
  time: System.time,
  timeout: System.timeout,
  touch: Files.touch,
  tr: Text.tr,
  true: System.succeed,
  truncate: Files.truncate,
  tty: System.tty,
  uname: System.uname,
  uniq: Text.uniq,
  wc: Text.wc,
  which: System.which,
  whoami: System.whoami,
  xargs: List.xargs,
  yes: System.yes,
  zcat: Archive.gzip
}

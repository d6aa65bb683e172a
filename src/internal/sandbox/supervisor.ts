/**
 * The scripts of jobs, for `sh` of any kind: POSIX, with `setsid`. Their variables begin with `lb_`, because those that
 * a script sets in its environment reach the command.
 */

import * as Redacted from "effect/Redacted"
import type * as Guest from "../../Guest.ts"

/** When a command is started again after it has exited. */
export type Restart = "no" | "on-failure" | "always"

/**
 * Starts a command again a second after it has exited, and ends with it, in the same way, once the group is told to end,
 * or if it cannot be started. The shell runs its traps when the command has exited; it survives the signals that a
 * command may handle.
 */
const loop = (isOver: string) => String.raw`
lb_over=
trap 'lb_over=129' HUP
trap 'lb_over=130' INT
trap 'lb_over=143' TERM
trap : QUIT USR1 USR2 ALRM
lb_end() {
  if [ "$lb_over" = "$lb_status" ]; then
    trap - HUP INT TERM
    kill "-$((lb_over - 128))" "$$"
  fi
  exit "$lb_status"
}
while :; do
  (exec "$@")
  lb_status=$?
  [ -z "$lb_over" ] || lb_end
  case $lb_status in ${isOver}) lb_end ;; esac
  echo "lightbox: exited with code $lb_status, starts again"
  sleep 1
  [ -z "$lb_over" ] || lb_end
done
`

/** The scripts that start commands again. */
export const loops: { readonly [restart in Restart]: string } = {
  no: "",
  "on-failure": loop("0 | 126 | 127"),
  always: loop("126 | 127")
}

/**
 * Supervises a job. Arguments: the folder of all jobs, the job's id, its record as one line, the bytes of one of its two
 * log files, the path of its input, one of {@link loops}, a line of {@link onTerminal} or nothing, and the command.
 * Prints `started`, `missing` if there is no such program, `unsupported` if there can be no terminal, or why it failed;
 * then it closes its outputs and goes on. Started with `setsid`, it is in a session of its own, and so is the command,
 * whose process group is signalled.
 *
 * - `job` is written last: a job with a record has started. It starts even if nobody is left to read `started`.
 * - A result above 128 can be a signal or an exit code. A shell writes a message when a signal ended its command, except
 *   for `SIGINT` and `SIGPIPE`; hence the pipe `message`.
 * - `dd` copies what each read returns, without waiting for more. Opening and closing pipes with `<>` never waits.
 * - With a terminal, which only `script` of util-linux can make and give an exit code of, nobody tells a signal from a
 *   code above 128. That it has the option is tried: busybox has a `script` without it.
 * - The writing end of the command's input is held by a process that waits for `eof`.
 * - What must work on a full disk was written before: the end is a `mv`, and `pid` is overwritten.
 */
export const supervise = String.raw`
lb_jobs=$1 lb_dir=$1/$2 lb_record=$3 lb_segment=$4 lb_stdin=$5 lb_loop=$6 lb_terminal=$7
shift 7
command -v "$1" >/dev/null 2>&1 || { echo missing; exit; }
[ -z "$lb_terminal" ] || SHELL=/bin/sh script -qefc : /dev/null </dev/null >/dev/null 2>&1 || { echo unsupported; exit; }
[ -z "$lb_loop" ] || set -- sh -c "$lb_loop" lightbox-service "$@"
LC_ALL=C mkdir -m 700 "$lb_dir" 2>&1 || exit
read -r lb_boot </proc/sys/kernel/random/boot_id
read -r lb_self </proc/$$/stat
{
  true >"$lb_dir/running" && echo 0 >"$lb_dir/pid" &&
    printf '%s\n' "$lb_boot" "$lb_self" "$lb_record" >"$lb_dir/job"
} 2>&1 || { rm -rf "$lb_dir"; echo No space left on device; exit; }
trap '' PIPE
echo started
trap - PIPE
exec </dev/null >/dev/null 2>&1

lb_end() {
  mv "$lb_dir/running" "$lb_dir/$lb_name"
  kill -KILL 0
}
lb_rotate() {
  if [ "$lb_size" -eq 0 ]; then
    rm -f "$lb_dir/$lb_log"
  else
    rm -f "$lb_dir/$lb_old"
    lb_old=$lb_log lb_start=$((lb_start + lb_size)) lb_size=0
  fi
  lb_log=$1.$lb_start
}
lb_write() {
  lb_start=0 lb_size=0 lb_old= lb_log=log.0
  while :; do
    lb_kind=log lb_left=$((lb_segment - lb_size)) lb_block=4096
    [ "$lb_left" -ge "$lb_block" ] || lb_block=$lb_left
    dd bs="$lb_block" count="$((lb_left / lb_block))" >>"$lb_dir/$lb_log" || lb_kind=gap
    [ -s "$lb_dir/$lb_log" ] && lb_now=$(wc -c <"$lb_dir/$lb_log") || lb_now=0
    if [ "$lb_kind" = gap ]; then
      lb_size=$lb_now
      lb_rotate gap
      [ "$(dd bs=65536 count=1 | wc -c)" -gt 0 ] || break
    else
      [ "$lb_now" -gt "$lb_size" ] || break
      lb_size=$lb_now
      [ "$lb_size" -lt "$lb_segment" ] || lb_rotate log
    fi
  done
}
lb_prune() {
  set -- "$lb_jobs"/*
  [ "$#" -gt 50 ] || return
  lb_ended=0
  for lb_job in $(ls -t "$lb_jobs"); do
    lb_job=$lb_jobs/$lb_job
    [ -f "$lb_job/job" ] && read -r lb_x <"$lb_job/job" || continue
    [ -e "$lb_job/running" ] && [ "$lb_x" = "$lb_boot" ] && continue
    lb_ended=$((lb_ended + 1))
    [ "$lb_ended" -le 50 ] || rm -rf "$lb_job"
  done
}

lb_prune
lb_name=ended.exited.126
mkfifo "$lb_dir/message" "$lb_dir/output" "$lb_dir/stdin" "$lb_dir/eof" || lb_end
if [ "$lb_stdin" != /dev/null ]; then
  exec 4<>"$lb_dir/eof"
  { exec 5<>"$lb_stdin" 6>"$lb_stdin" 5>&-; read -r lb_x <&4; } &
fi
lb_write <"$lb_dir/output" &
lb_writer=$!
exec 3<>"$lb_dir/message" 2>&3
lb_pid=$lb_dir/pid
if [ -n "$lb_terminal" ]; then
  lb_pid=/dev/null
  set -- env "lb_shell=$SHELL" SHELL=/bin/sh script -qefc "$lb_terminal" /dev/null
fi
setsid sh -c 'exec <"$2" >"$1/output" 2>&1 3>&- 4>&- && echo "$$" 1<>"$3" && shift 3 && exec "$@"' sh "$lb_dir" "$lb_stdin" "$lb_pid" "$@"
lb_status=$?
[ -z "$lb_terminal" ] || lb_terminal=x
echo "$lb_terminal" >&3
read -r lb_message <&3
exec 2>/dev/null
lb_name=ended.exited.$lb_status
case $lb_status$lb_message in
  130 | 141 | 129?* | 1[3-9][0-9]?*) lb_name=ended.signaled.$((lb_status - 128)) ;;
esac
read -r lb_pid <"$lb_dir/pid"
{ sleep 1; [ "$lb_pid" = 0 ] || kill -KILL "-$lb_pid"; sleep 5; lb_end; } &
wait "$lb_writer"
lb_end
`

const quoted = (word: Guest.Word): string =>
  `'${(Redacted.isRedacted(word) ? Redacted.value(word) : word).replaceAll("'", String.raw`'\''`)}'`

/**
 * Makes the line that `script` runs in its new terminal: it becomes the command, which leads the terminal's session. The
 * size is set, as the terminal has none, and so is echo, which `script` turns off.
 */
export const onTerminal = (
  folder: string,
  { columns, rows }: Guest.TerminalSize,
  argv: ReadonlyArray<Guest.Word>
): string =>
  [
    "exec",
    "sh",
    "-c",
    String.raw`SHELL=$lb_shell
unset lb_shell
[ -n "$SHELL" ] || unset SHELL
stty sane rows "$2" cols "$3"
tty >"$1/tty"
echo "$$" 1<>"$1/pid" && shift 3 && exec "$@"`,
    "sh",
    folder,
    String(rows),
    String(columns),
    ...argv
  ]
    .map(quoted)
    .join(" ")

/**
 * Resizes the terminal of a job, which signals its foreground processes if that is a change. Arguments: the job's folder,
 * rows, columns, and the columns to set before. Opening with `<>` does not wait for a pipe that the command put there.
 */
export const resize = `[ -f "$1/tty" ] && read -r lb_tty <"$1/tty" && exec 0<>"$lb_tty" || exit 0
[ -z "$4" ] || stty rows "$2" cols "$4"
exec stty rows "$2" cols "$3"`

/** The content of `pid` until the command has begun. */
export const notBegun = "0\n"

/** Kills processes. Arguments: their ids. */
export const kill = `kill -KILL "$@" 2>/dev/null; exit 0`

/** Signals a process group. Arguments: the signal's number and the group. No `--` before it, as busybox demands. */
export const signal = `kill "-$1" "-$2" 2>/dev/null; exit 0`

/** Copies its input to that of a job. Argument: its folder. Fails with `EPIPE` once nobody reads, instead of waiting. */
export const write = `[ -p "$1/stdin" ] || exit 0
exec 3<>"$1/stdin"
exec cat >"$1/stdin" 3>&-`

/** Ends the input of a job. Argument: its folder. */
export const endInput = `[ -p "$1/eof" ] && exec 3<>"$1/eof" && echo >&3; exit 0`

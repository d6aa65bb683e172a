/** The Linux kernel's errors in the order of their numbers, from 1. The guest is always Linux, unlike the host. */
const names = [
  ..."EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK".split(" "),
  ..."EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE".split(" "),
  ..."EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP".split(" ")
]

const laterNames: { readonly [errno: number]: string } = {
  61: "ENODATA",
  75: "EOVERFLOW",
  95: "EOPNOTSUPP",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  116: "ESTALE",
  122: "EDQUOT"
}

/** The agent's descriptions of delayed write errors, which have no number. */
const kinds: { readonly [description: string]: string } = {
  "no storage space": "ENOSPC",
  "quota exceeded": "EDQUOT",
  "file too large": "EFBIG"
}

/**
 * Parses the errno in a message of the agent, which ends like Rust's: `stat: No such file or directory (os error 2)`.
 */
export const parse = (message: string): { readonly code: string; readonly problem: string } => {
  const match = /^(?:\w+: )?([\s\S]*) \(os error (\d+)\)/.exec(message)
  if (match === null)
    return { code: kinds[message.slice(message.indexOf(": ") + 1).trim()] ?? "UNKNOWN", problem: message }
  const number = Number(match[2])
  return { code: names[number - 1] ?? laterNames[number] ?? `E${number}`, problem: match[1] ?? message }
}

/** The number of an error, if it is known. */
export const numberOf = (code: string): number | undefined => {
  const index = names.indexOf(code)
  if (index !== -1) return index + 1
  const later = Object.entries(laterNames).find(([, name]) => name === code)?.[0] ?? /^E(\d+)$/.exec(code)?.[1]
  return later === undefined ? undefined : Number(later)
}

/** The Linux kernel's error numbers by name. The guest is always Linux, so the host's table does not apply. */
const names: { readonly [errno: number]: string } = {
  1: "EPERM",
  2: "ENOENT",
  3: "ESRCH",
  4: "EINTR",
  5: "EIO",
  6: "ENXIO",
  7: "E2BIG",
  8: "ENOEXEC",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  14: "EFAULT",
  16: "EBUSY",
  17: "EEXIST",
  18: "EXDEV",
  19: "ENODEV",
  20: "ENOTDIR",
  21: "EISDIR",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  26: "ETXTBSY",
  27: "EFBIG",
  28: "ENOSPC",
  29: "ESPIPE",
  30: "EROFS",
  31: "EMLINK",
  32: "EPIPE",
  36: "ENAMETOOLONG",
  38: "ENOSYS",
  39: "ENOTEMPTY",
  40: "ELOOP",
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
  return { code: names[Number(match[2])] ?? `E${match[2]}`, problem: match[1] ?? message }
}

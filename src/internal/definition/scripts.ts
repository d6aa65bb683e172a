/**
 * Shell scripts that steps and presets share. Imports nothing: presets load it.
 */

/** Quotes words for a POSIX shell. */
export const quote = (words: ReadonlyArray<string>): string =>
  words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(" ")

/** Installs Debian packages and removes the package lists. */
export const aptInstall = (packages: ReadonlyArray<string>): string =>
  `apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${quote(packages)} && rm -rf /var/lib/apt/lists/*`

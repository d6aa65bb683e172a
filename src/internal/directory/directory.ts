/**
 * The directory of a fleet: which hosts there are, which sandbox is on which of them, and which snapshots, images and volumes
 * they have. It also has the names and the locks that all programs of a fleet share.
 *
 * All times are those of the database, so that clocks of machines may differ. Each statement stands alone: what must not
 * change in between is part of its condition.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Fragment } from "effect/sql/Statement"
import type { FleetHost } from "../../Microsandbox.ts"
import { Capabilities, Labels } from "./models.ts"
import * as Statements from "./statements.ts"
import type { Holders, Sql } from "./statements.ts"

/** How often a host says that it lives. */
export const beatMillis = 5000

/** A host that was not seen for so long gets no new sandboxes. */
export const aliveMillis = 15_000

/** The sandboxes of a host that was not seen for so long count as lost. */
export const graceMillis = 60_000

/** Those that wait for a lock say so more often. */
const waiterMillis = 10_000

/** Whoever waits for a lock reads its lines sooner. */
const lineMillis = 60_000

/** How long a lock is held without being renewed. */
export const lockMillis = 30_000

/** A host, as the directory knows it. */
export const Host = Schema.Struct({
  id: Schema.String,
  address: Schema.String,
  /** Of each start of the host. */
  incarnation: Schema.String,
  /** Milliseconds since the host was seen. */
  age: Schema.Finite,
  state: Schema.Literals(["up", "stopped"]),
  version: Schema.String,
  architecture: Schema.String,
  labels: Statements.JsonOf(Labels),
  capabilities: Statements.JsonOf(Capabilities),
  cpus: Schema.Finite,
  /** Bytes that sandboxes may use. */
  memory: Schema.Finite,
  /** Bytes of its running sandboxes. */
  used: Schema.Finite,
  /** Bytes of the sandboxes that the directory knows there. */
  reserved: Schema.Finite,
  sandboxes: Schema.Finite,
  cordoned: Schema.Finite,
  reason: Schema.NullOr(Schema.String)
})

export type Host = typeof Host.Type

export const isAlive = ({ age, state }: Host): boolean => state === "up" && age < aliveMillis

const statusOf = (host: Host): FleetHost["status"] =>
  host.state === "stopped" ? "stopped" : !isAlive(host) ? "away" : host.cordoned === 0 ? "ready" : "cordoned"

/** What sandboxes take of a host's memory: those that run, and those that are being created. */
export const takenOf = ({ reserved, used }: Pick<Host, "reserved" | "used">): number => Math.max(reserved, used)

/** What people see of a host. */
export const listed = (host: Host): FleetHost => ({
  id: host.id,
  status: statusOf(host),
  address: host.address,
  sandboxes: host.sandboxes,
  memory: host.memory,
  used: takenOf(host),
  cpus: host.cpus,
  architecture: host.architecture,
  labels: host.labels,
  version: host.version,
  seenMillisAgo: Math.round(host.age),
  ...(host.reason === null ? {} : { reason: host.reason })
})

/** What a host says about itself. */
export type Registration = Pick<
  Host,
  "id" | "address" | "incarnation" | "version" | "architecture" | "labels" | "capabilities" | "cpus"
> & {
  /** When results of the fleet are pruned, and which. */
  readonly prune?: string | undefined
}

/** A sandbox, as the directory knows it. `lost`: its host is gone, or was restarted without it. */
export const SandboxRow = Schema.Struct({
  name: Schema.String,
  id: Schema.NullOr(Schema.String),
  host: Schema.String,
  incarnation: Schema.String,
  /** Of the creation, which names what it may change. */
  request: Schema.String,
  detached: Schema.Finite,
  state: Schema.Literals(["creating", "running", "stopped", "lost"]),
  reason: Schema.NullOr(Schema.String),
  /** Milliseconds since it changed. */
  age: Schema.Finite
})

export type SandboxRow = typeof SandboxRow.Type

/** What a host has, of which placements and look-ups need to know. */
const Kind = Schema.Literals(["snapshot", "image", "volume"])

export type Kind = typeof Kind.Type

const Holding = Schema.Struct({
  kind: Kind,
  name: Schema.String,
  host: Schema.String
})

export type Holding = typeof Holding.Type

const Named = Schema.Struct({ name: Schema.String })
const Located = Schema.Struct({ path: Schema.String })
const Content = Schema.Struct({ content: Schema.String })
const Modified = Schema.Struct({ modified: Schema.Finite })
const Linked = Schema.Struct({ name: Schema.String, snapshot: Schema.String })
const Now = Schema.Struct({ now: Schema.Finite })
const Held = Schema.Struct({ holder: Schema.String, lines: Schema.Finite })
const Line = Schema.Struct({ number: Schema.Finite, line: Schema.String })

/** A sandbox that a host really has. */
export interface Present {
  readonly name: string
  readonly id: string
  readonly isRunning: boolean
  readonly memory: number
}

/** How a row gets into the directory. */
export interface Claim {
  readonly name: string
  readonly host: string
  readonly incarnation: string
  readonly owner: string
  readonly request: string
  readonly memory: number
  readonly detached: boolean
}

export type { Holders } from "./statements.ts"

export type Directory = ReturnType<typeof of>

const bit = (value: boolean): number => (value ? 1 : 0)

/** A directory in a database. `url` is shown in errors. */
export const of = (sql: Sql, url: string) => {
  const { change, changed, changing, haveLocks, reading } = Statements.make(sql, url)

  const sandboxColumns = (now: Fragment) =>
    sql`name, id, host, incarnation, request, detached, state, reason, ${now} - updated_at AS age`

  return {
    url,
    /** For what has tables of its own in the database. */
    sql,

    time: Effect.map(
      reading("Directory.time", Now, (now) => sql`SELECT ${now} AS now`),
      (found) => found[0]?.now ?? 0
    ),

    // =========================================================================
    // Hosts
    // =========================================================================

    /** Puts a host into the directory. It stays cordoned if it was. */
    register: (host: Registration) =>
      change(
        "Directory.register",
        (now) => sql`INSERT INTO lightbox_hosts
          (id, address, incarnation, seen_at, state, version, architecture, labels, capabilities, cpus, memory, used,
            cordoned, prune)
          VALUES (${host.id}, ${host.address}, ${host.incarnation}, ${now}, 'up', ${host.version}, ${host.architecture},
            ${JSON.stringify(host.labels)}, ${JSON.stringify(host.capabilities)}, ${host.cpus}, 0, 0, 0,
            ${host.prune ?? null})
          ON CONFLICT (id) DO UPDATE SET address = excluded.address, incarnation = excluded.incarnation,
            seen_at = excluded.seen_at, state = excluded.state, version = excluded.version,
            architecture = excluded.architecture, labels = excluded.labels, capabilities = excluded.capabilities,
            cpus = excluded.cpus, prune = excluded.prune`
      ),
    /** Says that a host lives. Returns `false` if the host was started again, or forgotten. */
    beat: (host: {
      readonly id: string
      readonly incarnation: string
      readonly memory: number
      readonly used: number
    }) =>
      changed(
        "Directory.beat",
        (
          now
        ) => sql`UPDATE lightbox_hosts SET seen_at = ${now}, state = 'up', memory = ${host.memory}, used = ${host.used}
          WHERE id = ${host.id} AND incarnation = ${host.incarnation} RETURNING id`
      ),
    /** Says that a host has stopped. The sandboxes of programs have ended with it. */
    leave: (host: { readonly id: string; readonly incarnation: string }) =>
      Effect.andThen(
        change(
          "Directory.leave",
          () =>
            sql`UPDATE lightbox_hosts SET state = 'stopped' WHERE id = ${host.id} AND incarnation = ${host.incarnation}`
        ),
        change(
          "Directory.leave",
          (
            now
          ) => sql`UPDATE lightbox_sandboxes SET state = 'lost', reason = 'its host was stopped', updated_at = ${now}
            WHERE host = ${host.id} AND incarnation = ${host.incarnation} AND detached = 0`
        )
      ),
    hosts: reading(
      "Directory.hosts",
      Host,
      (now) => sql`SELECT id, address, incarnation, ${now} - seen_at AS age, state, version, architecture, labels,
          capabilities, cpus, memory, used, cordoned, reason,
          (SELECT COALESCE(SUM(memory), 0) FROM lightbox_sandboxes s
            WHERE s.host = h.id AND s.state IN ('creating', 'running')) AS reserved,
          (SELECT CAST(COUNT(*) AS DOUBLE PRECISION) FROM lightbox_sandboxes s
            WHERE s.host = h.id AND s.state <> 'lost') AS sandboxes
        FROM lightbox_hosts h ORDER BY id`
    ),
    /** Keeps new sandboxes from a host. The first reason stays. Returns whether the host is known. */
    cordon: (id: string, reason: string) =>
      changed(
        "Directory.cordon",
        () => sql`UPDATE lightbox_hosts
          SET reason = CASE WHEN cordoned = 1 THEN reason ELSE ${reason} END, cordoned = 1
          WHERE id = ${id} RETURNING id`
      ),
    uncordon: (id: string) =>
      changed(
        "Directory.uncordon",
        () => sql`UPDATE lightbox_hosts SET cordoned = 0, reason = NULL WHERE id = ${id} RETURNING id`
      ),

    /** Forgets a host that will not be back, and everything that only it had. */
    remove: (id: string) =>
      Effect.forEach(
        [
          sql`DELETE FROM lightbox_sandboxes WHERE host = ${id}`,
          sql`DELETE FROM lightbox_holdings WHERE host = ${id}`,
          sql`DELETE FROM lightbox_unlinked WHERE host = ${id}`,
          sql`DELETE FROM lightbox_hosts WHERE id = ${id}`
        ],
        (statement) => change("Directory.remove", () => statement),
        { discard: true }
      ),

    // =========================================================================
    // Sandboxes
    // =========================================================================

    /** Takes a name for a creation, if nobody has it. */
    claim: (claim: Claim) =>
      changed(
        "Directory.claim",
        (now) => sql`INSERT INTO lightbox_sandboxes
          (name, host, incarnation, owner, request, memory, detached, state, updated_at)
          VALUES (${claim.name}, ${claim.host}, ${claim.incarnation}, ${claim.owner}, ${claim.request}, ${claim.memory},
            ${bit(claim.detached)}, 'creating', ${now})
          ON CONFLICT (name) DO NOTHING RETURNING name`
      ),
    /** Gives a creation to a host, and shows that it goes on. Returns `false` if it does not have the name any more. */
    move: (claim: Pick<Claim, "name" | "request" | "host" | "incarnation">) =>
      changed(
        "Directory.move",
        (now) => sql`UPDATE lightbox_sandboxes
          SET host = ${claim.host}, incarnation = ${claim.incarnation}, updated_at = ${now}
          WHERE name = ${claim.name} AND request = ${claim.request} RETURNING name`
      ),
    created: (name: string, request: string, id: string) =>
      change(
        "Directory.created",
        (now) => sql`UPDATE lightbox_sandboxes SET id = ${id}, state = 'running', updated_at = ${now}
          WHERE name = ${name} AND request = ${request}`
      ),
    detached: (name: string, host: string) =>
      change(
        "Directory.detached",
        () => sql`UPDATE lightbox_sandboxes SET detached = 1 WHERE name = ${name} AND host = ${host}`
      ),
    forget: (name: string, request: string) =>
      change(
        "Directory.forget",
        () => sql`DELETE FROM lightbox_sandboxes WHERE name = ${name} AND request = ${request}`
      ),
    find: (name: string) =>
      Effect.map(
        reading(
          "Directory.find",
          SandboxRow,
          (now) => sql`SELECT ${sandboxColumns(now)} FROM lightbox_sandboxes WHERE name = ${name}`
        ),
        (found) => found[0]
      ),
    sandboxesOf: (host: string) =>
      reading(
        "Directory.sandboxes",
        SandboxRow,
        (now) => sql`SELECT ${sandboxColumns(now)} FROM lightbox_sandboxes WHERE host = ${host} ORDER BY name`
      ),
    /** Extends the leases of the sandboxes that a host has. */
    renew: (host: { readonly id: string; readonly incarnation: string }, leaseMillis: number) =>
      change(
        "Directory.renew",
        (now) => sql`UPDATE lightbox_sandboxes SET lease_until = ${now} + ${leaseMillis}
          WHERE host = ${host.id} AND incarnation = ${host.incarnation} AND state IN ('running', 'stopped')`
      ),
    /** Notes what a host says about a sandbox that the directory has there. */
    observe: (row: SandboxRow, incarnation: string, present: Present) =>
      change(
        "Directory.observe",
        (now) => sql`UPDATE lightbox_sandboxes
          SET state = ${present.isRunning ? "running" : "stopped"}, reason = NULL, id = ${present.id},
            memory = ${present.memory}, incarnation = ${incarnation}, updated_at = ${now}
          WHERE name = ${row.name} AND host = ${row.host} AND request = ${row.request}`
      ),
    /** Adds a sandbox that was not made through the directory. Returns `false` if another host has the name. */
    adopt: (claim: Claim, present: Present) =>
      changed(
        "Directory.adopt",
        (now) => sql`INSERT INTO lightbox_sandboxes
          (name, id, host, incarnation, owner, request, memory, detached, state, updated_at)
          VALUES (${claim.name}, ${present.id}, ${claim.host}, ${claim.incarnation}, ${claim.owner}, ${claim.request},
            ${claim.memory}, ${bit(claim.detached)}, ${present.isRunning ? "running" : "stopped"}, ${now})
          ON CONFLICT (name) DO NOTHING RETURNING name`
      ),
    /** Says that a host does not have a sandbox any more. */
    lose: (row: SandboxRow, reason: string) =>
      change(
        "Directory.lose",
        (now) => sql`UPDATE lightbox_sandboxes SET state = 'lost', reason = ${reason}, updated_at = ${now}
          WHERE name = ${row.name} AND host = ${row.host} AND request = ${row.request}`
      ),
    /** Marks the sandboxes of hosts that are gone as lost. Returns their names. Removes nothing. */
    loseOfGone: changing(
      "Directory.reap",
      Named,
      (now) => sql`UPDATE lightbox_sandboxes SET state = 'lost', updated_at = ${now},
          reason = (SELECT 'its host ' || h.id || ' has not been seen for too long' FROM lightbox_hosts h
            WHERE h.id = lightbox_sandboxes.host)
        WHERE state <> 'lost' AND (lease_until IS NULL OR lease_until < ${now})
          AND host IN (SELECT id FROM lightbox_hosts WHERE seen_at < ${now} - ${graceMillis})
        RETURNING name`
    ).pipe(Effect.map((found) => found.map(({ name }) => name))),

    // =========================================================================
    // What hosts have
    // =========================================================================

    /** Finds the hosts that have something of these names. */
    holders: (kind: Kind, names: ReadonlyArray<string>) =>
      names.length === 0
        ? Effect.succeed([])
        : reading(
            "Directory.holders",
            Holding,
            () => sql`SELECT kind, name, host FROM lightbox_holdings
              WHERE kind = ${kind} AND ${sql.in("name", names)} ORDER BY noted_at, host`
          ),
    held: (host: string) =>
      reading(
        "Directory.held",
        Holding,
        () => sql`SELECT kind, name, host FROM lightbox_holdings WHERE host = ${host}`
      ),
    hold: (host: string, holdings: ReadonlyArray<{ readonly kind: Kind; readonly name: string }>) =>
      Effect.forEach(
        holdings,
        ({ kind, name }) =>
          change(
            "Directory.hold",
            (now) => sql`INSERT INTO lightbox_holdings (kind, name, host, noted_at)
              VALUES (${kind}, ${name}, ${host}, ${now})
              ON CONFLICT (kind, name, host) DO UPDATE SET noted_at = excluded.noted_at`
          ),
        { discard: true }
      ),
    /** Forgets that a host has something, unless that was noted since. */
    drop: (host: string, kind: Kind, name: string, before: number | undefined) =>
      change(
        "Directory.drop",
        () => sql`DELETE FROM lightbox_holdings WHERE host = ${host} AND kind = ${kind} AND name = ${name}
          AND noted_at <= ${before ?? Number.MAX_SAFE_INTEGER}`
      ),

    // =========================================================================
    // Names of snapshots
    // =========================================================================

    links: reading("Directory.links", Linked, () => sql`SELECT name, snapshot FROM lightbox_links`),
    link: (name: string) =>
      Effect.map(
        reading("Directory.link", Linked, () => sql`SELECT name, snapshot FROM lightbox_links WHERE name = ${name}`),
        (found) => found[0]?.snapshot
      ),
    /** Returns `false`, and changes nothing, if a lock was lost. */
    setLink: (name: string, snapshot: string, holders: Holders = []) =>
      changed(
        "Directory.setLink",
        (now) => sql`INSERT INTO lightbox_links (name, snapshot)
          SELECT CAST(${name} AS TEXT), CAST(${snapshot} AS TEXT) WHERE ${haveLocks(now, holders)}
          ON CONFLICT (name) DO UPDATE SET snapshot = excluded.snapshot RETURNING name`
      ),
    /** Adds a name and its record, unless the fleet has the name already, or a lock was lost. */
    addName: (name: string, snapshot: string, record: string | undefined, holders: Holders) =>
      Effect.andThen(
        record === undefined
          ? Effect.void
          : change(
              "Directory.addName",
              (now) => sql`INSERT INTO lightbox_records (path, content, modified_at)
                SELECT CAST(${`names/${name}.json`} AS TEXT), CAST(${record} AS TEXT), ${now}
                WHERE ${haveLocks(now, holders)} ON CONFLICT (path) DO NOTHING`
            ),
        change(
          "Directory.addName",
          (now) => sql`INSERT INTO lightbox_links (name, snapshot)
            SELECT CAST(${name} AS TEXT), CAST(${snapshot} AS TEXT) WHERE ${haveLocks(now, holders)}
            ON CONFLICT (name) DO NOTHING`
        )
      ),
    /** Returns `false` if there was nothing to remove, or a lock was lost. */
    removeLink: (name: string, holders: Holders = []) =>
      changed(
        "Directory.removeLink",
        (now) => sql`DELETE FROM lightbox_links WHERE name = ${name} AND ${haveLocks(now, holders)} RETURNING name`
      ),

    /** Notes that a name was removed while hosts were away that may have it. */
    noteUnlinked: (name: string, hosts: ReadonlyArray<string>) =>
      Effect.forEach(
        hosts,
        (host) =>
          change(
            "Directory.noteUnlinked",
            () => sql`INSERT INTO lightbox_unlinked (host, name) VALUES (${host}, ${name})
              ON CONFLICT (host, name) DO NOTHING`
          ),
        { discard: true }
      ),
    /** The names that were removed while a host was away. */
    unlinkedOf: (host: string) =>
      Effect.map(
        reading("Directory.unlinked", Named, () => sql`SELECT name FROM lightbox_unlinked WHERE host = ${host}`),
        (found) => found.map(({ name }) => name)
      ),
    forgetUnlinked: (host: string, name: string) =>
      change(
        "Directory.forgetUnlinked",
        () => sql`DELETE FROM lightbox_unlinked WHERE host = ${host} AND name = ${name}`
      ),

    // =========================================================================
    // Records
    // =========================================================================

    readRecord: (path: string) =>
      Effect.map(
        reading("Store", Content, () => sql`SELECT content FROM lightbox_records WHERE path = ${path}`),
        (found) => found[0]?.content
      ),
    /** Returns `false`, and changes nothing, if a lock was lost. */
    writeRecord: (path: string, content: string, holders: Holders = []) =>
      changed(
        "Store",
        (now) => sql`INSERT INTO lightbox_records (path, content, modified_at)
          SELECT CAST(${path} AS TEXT), CAST(${content} AS TEXT), ${now} WHERE ${haveLocks(now, holders)}
          ON CONFLICT (path) DO UPDATE SET content = excluded.content, modified_at = excluded.modified_at
          RETURNING path`
      ),
    /** Returns `false` if there was nothing to remove, or a lock was lost. */
    removeRecord: (path: string, holders: Holders = []) =>
      changed(
        "Store",
        (now) => sql`DELETE FROM lightbox_records WHERE path = ${path} AND ${haveLocks(now, holders)} RETURNING path`
      ),
    listRecords: (folder: string) =>
      Effect.map(
        reading(
          "Store",
          Located,
          // Not as a range: the order of characters is that of the database's language.
          () => sql`SELECT path FROM lightbox_records
            WHERE substr(path, 1, ${folder.length + 1}) = CAST(${`${folder}/`} AS TEXT)`
        ),
        (found) => found.map(({ path }) => path.slice(folder.length + 1))
      ),
    recordTime: (path: string) =>
      Effect.map(
        reading(
          "Store",
          Modified,
          () => sql`SELECT modified_at AS modified FROM lightbox_records WHERE path = ${path}`
        ),
        (found) => found[0]?.modified
      ),
    setRecordTime: (path: string, millis: number) =>
      change(
        "Store",
        () => sql`INSERT INTO lightbox_records (path, content, modified_at) VALUES (${path}, '', ${millis})
          ON CONFLICT (path) DO UPDATE SET modified_at = excluded.modified_at`
      ),

    // =========================================================================
    // Locks
    // =========================================================================

    /** Takes a lock that is free or has run out. */
    lock: (name: string, holder: string) =>
      changed(
        "Lock",
        (now) => sql`INSERT INTO lightbox_locks (name, holder, held_until)
          VALUES (${name}, ${holder}, ${now} + ${lockMillis})
          ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
            WHERE lightbox_locks.held_until < ${now} RETURNING name`
      ),
    isLocked: (name: string) =>
      Effect.map(
        reading(
          "Lock",
          Named,
          (now) => sql`SELECT name FROM lightbox_locks WHERE name = ${name} AND held_until >= ${now}`
        ),
        (found) => found.length > 0
      ),
    /** Extends a lock. Returns `false` if it has run out. */
    keepLock: (name: string, holder: string) =>
      changed(
        "Lock",
        (now) => sql`UPDATE lightbox_locks SET held_until = ${now} + ${lockMillis}
          WHERE name = ${name} AND holder = ${holder} AND held_until >= ${now} RETURNING name`
      ),
    areLocked: (holders: Holders) =>
      Effect.map(
        reading("Lock", Now, (now) => sql`SELECT ${now} AS now WHERE ${haveLocks(now, holders)}`),
        (found) => found.length > 0
      ),
    unlock: (name: string, holder: string) =>
      change("Lock", () => sql`DELETE FROM lightbox_locks WHERE name = ${name} AND holder = ${holder}`),

    /** The holder of a lock, and how many lines it has written. */
    holderOf: (name: string) =>
      Effect.map(
        reading(
          "Lock",
          Held,
          (now) => sql`SELECT holder, (SELECT COALESCE(MAX(number), 0) FROM lightbox_lines l
              WHERE l.holder = lightbox_locks.holder) AS lines
            FROM lightbox_locks WHERE name = ${name} AND held_until >= ${now}`
        ),
        (found) => found[0]
      ),
    /** Writes lines of a holder, of which the first has a number. */
    addLines: (holder: string, first: number, lines: ReadonlyArray<string>) =>
      change(
        "Lock",
        (now) => sql`INSERT INTO lightbox_lines (holder, number, line, written_at)
          VALUES ${sql.csv(lines.map((line, index) => sql`(${holder}, ${first + index}, ${line}, ${now})`))}
          ON CONFLICT (holder, number) DO NOTHING`
      ),
    linesAfter: (holder: string, number: number) =>
      reading(
        "Lock",
        Line,
        () => sql`SELECT number, line FROM lightbox_lines
          WHERE holder = ${holder} AND number > ${number} ORDER BY number LIMIT 1000`
      ),
    /** Tells the holder of a lock that somebody waits for it. It is believed for a while. */
    announce: (waiter: string, name: string, message: string) =>
      change(
        "Lock",
        (now) => sql`INSERT INTO lightbox_waiters (id, lock_name, message, heard_at)
          VALUES (${waiter}, ${name}, ${message}, ${now})
          ON CONFLICT (id) DO UPDATE SET heard_at = excluded.heard_at`
      ),
    withdraw: (waiter: string) => change("Lock", () => sql`DELETE FROM lightbox_waiters WHERE id = ${waiter}`),
    announced: (name: string) =>
      Effect.map(
        reading(
          "Lock",
          Schema.Struct({ message: Schema.String }),
          (now) => sql`SELECT message FROM lightbox_waiters
            WHERE lock_name = ${name} AND heard_at >= ${now} - ${waiterMillis}`
        ),
        (found) => found.map(({ message }) => message)
      ),
    /** Forgets lines that were written, and those that waited, a while ago. */
    forgetLines: Effect.andThen(
      change("Lock", (now) => sql`DELETE FROM lightbox_lines WHERE written_at < ${now} - ${lineMillis}`),
      change("Lock", (now) => sql`DELETE FROM lightbox_waiters WHERE heard_at < ${now} - ${lineMillis}`)
    ),

    // =========================================================================
    // What all hosts agree on
    // =========================================================================

    /** Returns what the fleet has under a name: `content`, if it had nothing. */
    agree: (name: string, content: string) =>
      change(
        "Directory.agree",
        () => sql`INSERT INTO lightbox_settings (name, content) VALUES (${name}, ${content})
          ON CONFLICT (name) DO NOTHING`
      ).pipe(
        Effect.andThen(
          reading("Directory.agree", Content, () => sql`SELECT content FROM lightbox_settings WHERE name = ${name}`)
        ),
        Effect.map((found) => found[0]?.content ?? content)
      ),
    /** Replaces what the fleet has under a name. Returns `false` if another has done so. */
    replace: (name: string, before: string, content: string) =>
      Effect.map(
        changing(
          "Directory.replace",
          Named,
          () => sql`UPDATE lightbox_settings SET content = ${content}
            WHERE name = ${name} AND content = ${before} RETURNING name`
        ),
        (found) => found.length > 0
      ),
    /** What the hosts that are up want to be pruned, and when. */
    prunes: Effect.map(
      reading(
        "Directory.prunes",
        Content,
        (now) => sql`SELECT DISTINCT prune AS content FROM lightbox_hosts
          WHERE prune IS NOT NULL AND state = 'up' AND seen_at >= ${now} - ${aliveMillis} ORDER BY prune`
      ),
      (found) => found.map(({ content }) => content)
    )
  }
}

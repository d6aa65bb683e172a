/**
 * Runs PostgreSQL from Debian in one sandbox and its client in another, which reaches it by name. Nothing else reaches
 * it, and no port of this machine is opened.
 */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox, Snapshot } from "effect-lightbox"

const resources = { cpus: 1, memory: "512M" } as const

/** Server and client. Debian makes a database as it installs the server. */
const postgres = Snapshot.make("postgres", "debian:12").pipe(
  Snapshot.resources(resources),
  Snapshot.apt(["postgresql"]),
  Snapshot.shell("echo 'host all all 127.0.0.1/32 trust' > /etc/postgresql/15/main/pg_hba.conf")
)

const orders = `
  create table orders (item text, pieces int);
  insert into orders values ('tea', 2), ('scones', 4);
  select item, pieces from orders order by pieces desc;
`

const program = Effect.gen(function* () {
  const snapshot = yield* Snapshot.build(postgres)
  const { client } = yield* Sandbox.group({
    db: {
      snapshot,
      resources,
      network: "none",
      services: {
        db: {
          // Without a socket in /run, which is empty at boot, and without the key that Debian lets a group read.
          command: "exec /usr/lib/postgresql/15/bin/postgres -D /etc/postgresql/15/main -k '' -c ssl=off",
          user: "postgres",
          ready: { command: ["pg_isready", "-h", "127.0.0.1"] }
        }
      }
    },
    client: { snapshot, resources, network: "none", dependsOn: { db: { ports: [5432] } } }
  })
  const psql = ["-h", "db", "-U", "postgres", "-qAt", "-c", orders]
  const { stdout } = yield* client.exec("psql", psql, { check: true })
  yield* Console.log(stdout.trim())
})

program.pipe(
  Effect.scoped,
  Effect.ensuring(Effect.ignore(Snapshot.remove("postgres"))),
  Effect.provide(MicrosandboxLocal.layer()),
  Lightbox.runMain()
)

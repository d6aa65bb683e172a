/** A group whose client reaches its server. */
export default {
  server: {
    image: "alpine:3",
    name: "group-server",
    services: { echo: { command: "echo listening; touch /run/up; exec sleep 1000", ready: { file: "/run/up" } } }
  },
  client: {
    image: "alpine:3",
    name: "group-client",
    dependsOn: { server: { ports: [80] } },
    ports: [{ host: 0, guest: 80 }],
    services: { once: { command: "hostname; exit 3" } }
  }
}

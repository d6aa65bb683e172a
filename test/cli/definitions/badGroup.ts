/** A group in which a member depends on one that it does not have. */
export default { client: { image: "alpine:3", dependsOn: { server: "ready" } } }

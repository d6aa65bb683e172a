export const name = "nothing to build"

/** Turns the user of an image or a Dockerfile into an owner: a number without a group has the group of that number. */
export const ownerOf = (user: string): string => (/^\d+$/.test(user) ? `${user}:${user}` : user)

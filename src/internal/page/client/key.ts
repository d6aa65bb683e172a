/** Where the key of the session is kept, which all tabs use. */
export const keyName = "lightbox-key"

/** Names that the page and its server share. Without imports: the browser loads this module. */

/** Where the key of the session is kept, which all tabs use. */
export const keyName = "lightbox-key"

/** Of the WebSocket. The page proves with a second protocol, this one with the key, that it is ours. */
export const subprotocol = "lightbox"

export const paths = { stream: "/stream", assets: "/assets/" } as const

/** Marks definitions. */
export const TypeId = "~effect-lightbox/Snapshot/Definition" as const

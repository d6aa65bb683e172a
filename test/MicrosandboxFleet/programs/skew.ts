/** Sets the clock of a process off by `LIGHTBOX_SKEW` milliseconds. */
const skew = Number(process.env["LIGHTBOX_SKEW"])
const { now } = Date
Date.now = () => now() + skew

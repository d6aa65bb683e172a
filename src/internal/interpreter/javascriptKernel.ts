/** The program that runs in the guest for a JavaScript context. Node.js 18 or newer, nothing but its own modules. */

/** What both threads need. */
const shared = String.raw`"use strict";
const fs = require("node:fs");
const { Session } = require("node:inspector");

const pause = new Int32Array(new SharedArrayBuffer(4));

// Synchronous: what code has written arrives, even if it never lets go of the event loop.
const write = (fd, data) => {
  for (let at = 0; at < data.length; ) {
    try {
      at += fs.writeSync(fd, data, at, data.length - at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(pause, 0, 0, 2);
    }
  }
};

// Frames are shorter than what a pipe takes in one piece, so that other writers cannot split them.
const send = (fd, marker, message) => {
  const data = Buffer.from(JSON.stringify(message));
  const size = 3900;
  for (let at = 0; at < data.length; at += size) {
    const piece = data.subarray(at, at + size);
    const kind = at === 0 ? (data.length <= size ? "S" : "F") : at + size < data.length ? "M" : "L";
    write(fd, Buffer.concat([Buffer.from(marker + kind + String(piece.length).padStart(4, "0")), piece]));
  }
};
`

/** The thread that runs the code. */
const worker = String.raw`${shared}
const { createRequire } = require("node:module");
const { inspect, types } = require("node:util");
const { parentPort, workerData } = require("node:worker_threads");
const { marker } = workerData;

// The streams of a thread pass everything to the other one, which is too late if this one is terminated. And a stream
// that is terminated while it writes would write nothing more, so this does not go through its state.
for (const [fd, stream] of [[1, process.stdout], [2, process.stderr]]) {
  const refuse = stream.write.bind(stream);
  stream.write = (chunk, encoding, done) => {
    const isText = typeof chunk === "string";
    if (stream.writableEnded || !(isText || chunk instanceof Uint8Array)) return refuse(chunk, encoding, done);
    const callback = typeof encoding === "function" ? encoding : done;
    write(fd, isText ? Buffer.from(chunk, typeof encoding === "string" ? encoding : "utf8") : chunk);
    if (typeof callback === "function") process.nextTick(callback);
    return true;
  };
}

const state = { room: 0, truncated: false };

const emit = (data) => {
  const fitting = {};
  for (const [kind, value] of Object.entries(data).sort(([, a], [, b]) => a.length - b.length)) {
    const room = state.room - kind.length;
    if (value.length > room) {
      state.truncated = true;
      if (kind !== "text/plain" || room <= 0) continue;
    }
    fitting[kind] = value.slice(0, room);
    state.room = room - fitting[kind].length;
  }
  if (Object.keys(fitting).length === 0) return;
  state.room -= 256;
  send(1, marker, { _tag: "Result", data: fitting });
};

const isPlain = (value) =>
  value === null ||
  ["string", "boolean"].includes(typeof value) ||
  (typeof value === "number" && Number.isFinite(value)) ||
  Array.isArray(value) ||
  (typeof value === "object" && [Object.prototype, null].includes(Object.getPrototypeOf(value)));

const attempt = (f) => {
  try {
    return f();
  } catch {
    return undefined;
  }
};

const bundle = (value) => {
  const data = { "text/plain": inspect(value) };
  const json = isPlain(value) ? attempt(() => JSON.stringify(value)) : undefined;
  if (json !== undefined) data["application/json"] = json;
  if (value instanceof Uint8Array && Buffer.from(value.subarray(0, 4)).toString("latin1") === "\x89PNG") {
    data["image/png"] = Buffer.from(value).toString("base64");
  }
  const given = attempt(() => value[Symbol.for("Jupyter.display")]());
  if (typeof given !== "object" || given === null) return data;
  for (const [kind, part] of Object.entries(given)) {
    const text = typeof part === "string" && !kind.endsWith("json") ? part : attempt(() => JSON.stringify(part));
    if (text !== undefined) data[kind] = text;
  }
  return data;
};

const session = new Session();
session.connect();
const post = (method, params) =>
  new Promise((resolve, reject) =>
    session.post(method, params, (error, reply) => (error === null ? resolve(reply) : reject(error)))
  );

const hidden = "__lightbox";
const setHook = (value) => Object.defineProperty(globalThis, hidden, { configurable: true, enumerable: false, value });

let everything;

/** The value that the inspector only describes. */
const valueOf = async ({ objectId, unserializableValue, value }) => {
  everything ??= (await post("Runtime.evaluate", { expression: "globalThis" })).result.objectId;
  let found;
  setHook((given) => void (found = { given }));
  try {
    await post("Runtime.callFunctionOn", {
      functionDeclaration: "function (value) { " + hidden + "(value) }",
      objectId: everything,
      arguments: [objectId ? { objectId } : unserializableValue ? { unserializableValue } : { value }]
    });
  } finally {
    delete globalThis[hidden];
  }
  return found?.given;
};

const names = (list) => list.replace(/\s+as\s+/g, ": ");

const importOf = (clause, path) => {
  const [, first = "", all = "", listed = ""] =
    /^(?:([\w$]+)\s*,?\s*)?(?:\*\s*as\s+([\w$]+)|\{([^}]*)\})?$/.exec(clause.trim()) ?? [];
  const loaded = "await " + importer + "(" + path + ")";
  if (all !== "") return "const " + all + " = " + loaded + (first === "" ? "" : ", " + first + " = " + all + ".default");
  const parts = [first === "" ? "" : "default: " + first, names(listed)].filter((part) => part.trim() !== "");
  return "const { " + parts.join(", ") + " } = " + loaded;
};

const importer = "__import";
Object.defineProperty(globalThis, importer, { value: (path, options) => import(path, options) });

const tokens =
  /\/\/[^\n]*|\/\*[^]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|${"`"}(?:\\[^]|[^${"`"}\\])*${"`"}|(?<![.\w$#])import(?=\s*\()|(?<=^[ \t]*)import\s+(?:([\w$\s{},*]+?)\s+from\s+)?("[^"\n]+"|'[^'\n]+')/gm;

/** The inspector evaluates scripts, which have no imports. */
const withoutImports = (code) =>
  code.replace(tokens, (token, clause, path) =>
    token === "import" ? importer : path === undefined ? token : clause === undefined ? "await " + importer + "(" + path + ")" : importOf(clause, path)
  );

/** A stack without what called the code. */
const stackOf = (error) => {
  const lines = String(error.stack ?? error).split("\n");
  const end = lines.findIndex((line) => /^\s+at .*(?:\[worker eval\]|node:inspector)/.test(line));
  return lines.slice(0, end === -1 ? lines.length : end).join("\n");
};

class Thrown {
  constructor(value, details, code) {
    this.value = value;
    this.details = details;
    this.code = code;
  }
}

const placeOf = ({ columnNumber, lineNumber }, code, name) => {
  const line = code.split("\n")[lineNumber];
  return line === undefined ? name + "\n\n" : name + ":" + (lineNumber + 1) + "\n" + line + "\n" + " ".repeat(columnNumber) + "^\n\n";
};

const describe = (failure, name) => {
  const error = failure instanceof Thrown ? failure.value : failure;
  if (!types.isNativeError(error) && !(error instanceof Error)) {
    const text = "Uncaught " + inspect(error);
    return { _tag: "Error", name: "Uncaught", message: inspect(error).slice(0, 65536), traceback: text.slice(0, 65536) };
  }
  const isSyntax = failure instanceof Thrown && error.name === "SyntaxError" && !stackOf(error).includes("\n    at ");
  const trace = (isSyntax ? placeOf(failure.details, failure.code, name) : "") + stackOf(error);
  const cause = error.cause instanceof Error ? "\nCaused by: " + stackOf(error.cause) : "";
  return {
    _tag: "Error",
    name: String(error.name),
    message: String(error.message).slice(0, 65536),
    traceback: (trace + cause).slice(0, 65536) + "\n"
  };
};

const run = async (code, name) => {
  const script = withoutImports(code);
  const expression = script + "\n//# sourceURL=" + name;
  const options = { replMode: true, awaitPromise: true, objectGroup: "cell" };
  const { exceptionDetails, result } = await post("Runtime.evaluate", { expression, ...options });
  if (exceptionDetails !== undefined) {
    throw new Thrown(await valueOf(exceptionDetails.exception), exceptionDetails, script);
  }
  const value = await (result.type === "undefined" ? undefined : valueOf(result));
  if (value !== undefined) emit(bundle(value));
};

parentPort.on("message", async ({ code, maxResults, number }) => {
  // Asked after an interrupt, to know that this thread is free.
  if (code === undefined) return parentPort.postMessage({ number });
  const name = "cell-" + number + ".js";
  Object.assign(state, { room: maxResults, truncated: false });
  let failure;
  try {
    await run(code, name);
  } catch (error) {
    failure = describe(error, name);
  }
  await post("Runtime.releaseObjectGroup", { objectGroup: "cell" });
  await post("Runtime.discardConsoleEntries");
  parentPort.postMessage({ number, failure, truncated: state.truncated });
});

for (const event of ["uncaughtException", "unhandledRejection"]) {
  process.on(event, (error) => {
    write(2, Buffer.from((error instanceof Error ? stackOf(error) : "Uncaught " + inspect(error)) + "\n"));
  });
}

globalThis.require = createRequire(process.cwd() + "/");
globalThis.display = (...values) => values.forEach((value) => emit(bundle(value)));
parentPort.postMessage({ number: 0 });
`

/**
 * The thread that talks to this side. It is never busy, so that an interrupt reaches the other at any time: the
 * inspector terminates what runs there, and leaves the state as it is.
 */
const main = String.raw`${shared}
const { Socket } = require("node:net");
const { Worker } = require("node:worker_threads");

const session = new Session();
session.connect();
const post = (method, params) => new Promise((resolve) => session.post(method, params, resolve));

let sessionId;
session.on("NodeWorker.attachedToWorker", ({ params }) => {
  sessionId = params.sessionId;
});

let marker = "";
let worker;
let number = 0;
let isRunning = false;
let isInterrupted = false;
let isInterrupting;

const end = (failure, truncated) => {
  isRunning = false;
  isInterrupted = false;
  clearInterval(isInterrupting);
  if (failure !== undefined) send(1, marker, failure);
  send(1, marker, { _tag: "Ended", truncated });
  send(2, marker, { _tag: "Ended", truncated: false });
};

const text = "The code was interrupted";
const interruption = { _tag: "Error", name: "Interrupted", message: text, traceback: "Interrupted: " + text + "\n" };

process.on("SIGINT", () => {
  if (!isRunning || isInterrupted) return;
  isInterrupted = true;
  const message = JSON.stringify({ id: 1, method: "Runtime.terminateExecution" });
  // The answer itself can be what is terminated, and so can something between two parts of the code.
  let asked = 0;
  const ask = () => {
    if (asked++ % 5 === 0) session.post("NodeWorker.sendMessageToWorker", { sessionId, message });
    worker.postMessage({ number });
  };
  ask();
  isInterrupting = setInterval(ask, 200);
});

const start = async ({ memory }) => {
  worker = new Worker(workerSource, {
    eval: true,
    workerData: { marker },
    resourceLimits: memory === null ? {} : { maxOldGenerationSizeMb: Math.floor(memory / 1048576) }
  });
  worker.on("error", (error) => write(2, Buffer.from(String(error) + "\n")));
  worker.on("exit", (code) => process.exit(code));
  worker.on("message", (message) => {
    if (message.number === 0) return send(1, marker, { _tag: "Ready" });
    if (!isRunning || message.number !== number) return;
    if (isInterrupted) end(interruption, false);
    else end(message.failure, message.truncated);
  });
  await post("NodeWorker.enable", { waitForDebuggerOnStart: false });
};

let rest = "";
const requests = new Socket({ fd: 3, readable: true, writable: false });
requests.setEncoding("utf8");
requests.on("end", () => process.exit(0));
requests.on("data", (text) => {
  const lines = (rest + text).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    const request = JSON.parse(line);
    if (request.marker !== undefined) {
      marker = request.marker;
      start(request);
    } else {
      isRunning = true;
      send(1, marker, { _tag: "Started" });
      worker.postMessage({ ...request, number: ++number });
    }
  }
});
`

const kernel = `const workerSource = ${JSON.stringify(`{${worker}}`)};\n{${main}}`

/**
 * Starts the kernel with its requests on descriptor 3: what the code starts inherits 0, which is empty. Node.js itself
 * cannot move a descriptor.
 */
export const source = String.raw`"use strict";
process.on("SIGINT", () => {});
const kernel = ${JSON.stringify(kernel)};
const { error, signal, status } = require("node:child_process").spawnSync(process.execPath, ["-e", kernel], {
  stdio: ["ignore", "inherit", "inherit", 0]
});
if (error) throw error;
if (signal) process.kill(process.pid, signal);
process.exit(status);
`

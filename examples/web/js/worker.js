/**
 * A worker that opens files and runs them with ONNX Runtime, so that the page stays responsive.
 *
 * Its name is the backend: "webgpu" or "wasm". It answers requests in the order in which they arrive.
 */

import { readMetadata } from "./metadata.js";

/**
 * @typedef {object} Source where a file comes from: an address, or a file that the user gave.
 * @property {string} id
 * @property {string} [url]
 * @property {File} [file]
 *
 * @typedef {{name: string, type: string, shape: (number | string)[]}} Port an input or an output.
 *
 * @typedef {object} Opened
 * @property {Port[]} inputs
 * @property {Port[]} outputs
 * @property {Record<string, string>} metadata
 * @property {number} bytes the size of the file.
 * @property {number} threads
 *
 * @typedef {{type: string, data: any, dims: number[]}} Plain a tensor as plain data.
 *
 * @typedef {{op: "open", source: Source} | {op: "run", id: string, feeds: Record<string, Plain>, wanted: string[]}} Request
 */

const FOLDER = new URL("../node_modules/onnxruntime-web/dist/", import.meta.url).href;
const KEPT = 3; // files that stay open, so that switching between methods is quick
const backend = self.name;

/** An error with a word that says what failed. */
class Failure extends Error {
  /**
   * @param {"runtime" | "download" | "not-onnx" | "session" | "run"} kind
   * @param {unknown} cause
   */
  constructor(kind, cause) {
    super(cause instanceof Error ? cause.message : String(cause));
    this.kind = kind;
  }
}

async function loadRuntime() {
  const ort = await import(`${FOLDER}ort.${backend}.min.mjs`);
  ort.env.wasm.wasmPaths = FOLDER;
  ort.env.logLevel = "error";
  return ort;
}

const runtime = loadRuntime();
runtime.catch(() => {}); // the first request reports it

/** @type {Map<string, {session: any, opened: Opened}>} */
const files = new Map();

/**
 * @param {string} url
 * @param {(share: number) => void} report called with the share that has arrived.
 */
async function download(url, report) {
  const response = await fetch(url);
  if (!response.ok || !response.body) throw new Error(`${response.status} ${response.statusText}`);
  const total = Number(response.headers.get("Content-Length"));
  const parts = [];
  let arrived = 0;
  const reader = response.body.getReader();
  for (let step = await reader.read(); !step.done; step = await reader.read()) {
    parts.push(step.value);
    arrived += step.value.length;
    if (total) report(Math.min(1, arrived / total));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/**
 * The outcome of a step; an error gets the kind of the step.
 *
 * @template T
 * @param {Failure["kind"]} kind
 * @param {() => T | Promise<T>} step
 * @returns {Promise<T>}
 */
async function as(kind, step) {
  try {
    return await step();
  } catch (cause) {
    throw new Failure(kind, cause);
  }
}

/**
 * @param {Source} source
 * @param {(share: number) => void} report
 * @returns {Promise<Opened>}
 */
async function open(source, report) {
  const ort = await as("runtime", () => runtime);
  const known = files.get(source.id);
  if (known) {
    files.delete(source.id);
    files.set(source.id, known);
    return known.opened;
  }
  const bytes = await as("download", async () =>
    source.file ? new Uint8Array(await source.file.arrayBuffer()) : download(String(source.url), report),
  );
  const metadata = await as("not-onnx", () => readMetadata(bytes));
  const session = await as("session", () =>
    ort.InferenceSession.create(bytes, { executionProviders: [backend], logSeverityLevel: 3 }),
  );
  const opened = {
    inputs: session.inputMetadata,
    outputs: session.outputMetadata,
    metadata,
    bytes: bytes.length,
    threads: ort.env.wasm.numThreads ?? 1,
  };
  files.set(source.id, { session, opened });
  for (const [id, oldest] of [...files].slice(0, -KEPT)) {
    files.delete(id);
    await oldest.session.release();
  }
  return opened;
}

/**
 * @param {string} id of a file that is open.
 * @param {Record<string, Plain>} feeds
 * @param {string[]} wanted names of outputs.
 * @returns {Promise<{outputs: Record<string, Plain>, milliseconds: number}>}
 */
async function run(id, feeds, wanted) {
  const ort = await runtime;
  const tensors = Object.entries(feeds).map(([name, { type, data, dims }]) => [
    name,
    new ort.Tensor(type, data, dims),
  ]);
  const start = performance.now();
  const results = await as("run", () =>
    files.get(id)?.session.run(Object.fromEntries(tensors), wanted),
  );
  const milliseconds = performance.now() - start;
  const outputs = wanted.map((name) => {
    const { type, data, dims } = results[name];
    return [name, { type, data, dims: [...dims] }];
  });
  return { outputs: Object.fromEntries(outputs), milliseconds };
}

let previous = Promise.resolve();

/** @param {MessageEvent<{number: number, request: Request}>} event */
self.onmessage = ({ data: { number, request } }) => {
  previous = previous.then(async () => {
    try {
      const result =
        request.op === "open"
          ? await open(request.source, (progress) => self.postMessage({ number, progress }))
          : await run(request.id, request.feeds, request.wanted);
      self.postMessage({ number, result });
    } catch (error) {
      const { kind = "run", message } = /** @type {Failure} */ (error);
      self.postMessage({ number, error: { kind, message } });
    }
  });
};

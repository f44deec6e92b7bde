/** The page's side of the worker: it opens and runs files, on the CPU where the GPU fails. */

/**
 * @typedef {import("./worker.js").Source} Source
 * @typedef {import("./worker.js").Opened} Opened
 * @typedef {import("./worker.js").Plain} Plain
 * @typedef {"webgpu" | "wasm"} Backend
 * @typedef {Error & {kind: string}} RunnerError its kind is one of the worker,
 *   or "worker" if that did not start, or "stopped".
 */

/** Kinds of errors that another backend may not have. */
const OF_THE_BACKEND = new Set(["runtime", "session", "run"]);

/** Whether the browser has a GPU for WebGPU that is not one made of software. */
export async function hasGpu() {
  const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = await gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter));
}

/**
 * A worker from a script that is a blob: such a worker obeys the page's Content-Security-Policy. One
 * that comes from an address would obey only what the server sends with the script.
 *
 * @param {Backend} backend
 */
function startWorker(backend) {
  const script = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  return new Worker(url, { type: "module", name: backend });
}

export class Runner {
  /** @type {Worker} */ #worker;
  /** @type {Map<number, {resolve: Function, reject: Function, report?: (share: number) => void}>} */
  #waiting = new Map();
  #requests = 0;

  /** @param {Backend} backend */
  constructor(backend) {
    /** @type {Backend} */
    this.backend = backend;
    this.#worker = this.#start();
  }

  /**
   * Start again on another backend.
   *
   * @param {Backend} backend
   */
  use(backend) {
    this.#worker.terminate();
    this.#fail("stopped", "The worker was stopped.");
    this.backend = backend;
    this.#worker = this.#start();
  }

  /**
   * Open a file.
   *
   * @param {Source} source
   * @param {(share: number) => void} [report] called with the share of the file that has arrived.
   * @returns {Promise<Opened>}
   * @throws {RunnerError}
   */
  open(source, report) {
    return this.#onAnyBackend(() => this.#request({ op: "open", source }, report));
  }

  /**
   * Run a file; it is opened if it is not.
   *
   * @param {Source} source
   * @param {Record<string, Plain>} feeds
   * @param {string[]} wanted names of outputs.
   * @returns {Promise<{outputs: Record<string, Plain>, milliseconds: number, threads: number}>}
   * @throws {RunnerError}
   */
  run(source, feeds, wanted) {
    return this.#onAnyBackend(async () => {
      const { threads } = await this.#request({ op: "open", source });
      const ran = await this.#request({ op: "run", id: source.id, feeds, wanted });
      return { ...ran, threads };
    });
  }

  /**
   * @template T
   * @param {() => Promise<T>} step
   * @returns {Promise<T>}
   */
  async #onAnyBackend(step) {
    try {
      return await step();
    } catch (error) {
      const { kind } = /** @type {RunnerError} */ (error);
      if (this.backend === "wasm" || !OF_THE_BACKEND.has(kind)) throw error;
      console.warn("WebGPU failed, so the CPU is used:", error);
      this.use("wasm");
      return step();
    }
  }

  /**
   * @param {import("./worker.js").Request} request
   * @param {(share: number) => void} [report]
   * @returns {Promise<any>}
   */
  #request(request, report) {
    const number = this.#requests++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject, report });
      this.#worker.postMessage({ number, request });
    });
  }

  /** @param {{number: number, progress?: number, result?: any, error?: RunnerError}} reply */
  #receive({ number, progress, result, error }) {
    const waiting = this.#waiting.get(number);
    if (!waiting) return;
    if (progress !== undefined) {
      waiting.report?.(progress);
      return;
    }
    this.#waiting.delete(number);
    if (error) waiting.reject(Object.assign(new Error(error.message), { kind: error.kind }));
    else waiting.resolve(result);
  }

  #start() {
    const worker = startWorker(this.backend);
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = () => this.#fail("worker", "The script worker.js did not start.");
    return worker;
  }

  /**
   * @param {string} kind
   * @param {string} message
   */
  #fail(kind, message) {
    for (const { reject } of this.#waiting.values()) {
      reject(Object.assign(new Error(message), { kind }));
    }
    this.#waiting.clear();
  }
}

/** What is open, shown and chosen, and what follows when one of these changes. */

import { readAnswer, readContract, statusText, wantedOutputs } from "./contract.js";
import { latestOnly } from "./latest.js";
import { userError } from "./messages.js";
import { COLOR_MAPS, drawHeat, putPixels } from "./overlay.js";
import { rgbOf } from "./pictures.js";
import { preparedTensor, seenRegion } from "./preprocess.js";
import { labelOf, percent, sharesOf, topRows } from "./scores.js";
import { $, element, showFacts, showMessage, showRows } from "./view.js";

/**
 * @typedef {object} Choice an exported file that the user can choose.
 * @property {string} model
 * @property {string} method empty until the file is open, if only the file says it.
 * @property {string} file its name.
 * @property {import("./worker.js").Source} source
 *
 * @typedef {import("./contract.js").Answer & {
 *   picture: import("./pictures.js").Picture,
 *   exported: import("./contract.js").Exported,
 *   choice: Choice,
 *   milliseconds: number,
 *   threads: number,
 * }} Shown an answer, and what it is the answer to.
 */

/** @param {number} milliseconds */
function duration(milliseconds) {
  if (milliseconds >= 10_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds < 100 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}

export class App {
  /** The file that is open. @type {Choice | null} */
  choice = null;
  /** @type {import("./pictures.js").Picture | null} */
  picture = null;
  /** The last answer. @type {Shown | null} */
  shown = null;
  /** Whether pictures come from the camera, one after the other. */
  live = false;
  /** Frames of the camera that are explained in a second. */
  rate = 0;

  /** @type {import("./contract.js").Exported | null} */ #exported = null;
  /** The class to explain, or null for the top class. @type {number | null} */ #chosen = null;
  #colors = COLOR_MAPS[0];
  #openings = 0;
  #tasks = 0;
  #runner;

  /** @param {import("./runner.js").Runner} runner */
  constructor(runner) {
    this.#runner = runner;
    /** Explain what is chosen now. */
    this.explain = latestOnly(() => this.#explainOnce());
  }

  /**
   * Open a file and explain with it. If that fails, the file that was open stays open.
   *
   * @param {Choice} choice
   * @returns {Promise<boolean>} whether it is open now.
   */
  async open(choice) {
    const opening = ++this.#openings;
    const report = (/** @type {number} */ share) => {
      if (opening === this.#openings) showFacts({ Loading: `${choice.file}, ${percent(share)}` });
    };
    const exported = await this.#task(choice.file, async () =>
      readContract(choice.file, await this.#runner.open(choice.source, report)),
    );
    this.#showFacts();
    if (!exported || opening !== this.#openings) return false;
    if (choice.model !== this.choice?.model) this.#chosen = null;
    this.choice = choice;
    choice.method ||= exported.method;
    this.#exported = exported;
    showMessage(null);
    this.explain();
    return true;
  }

  /**
   * Explain a picture.
   *
   * @param {import("./pictures.js").Picture} picture
   * @returns {Promise<void>}
   */
  setPicture(picture) {
    this.picture = picture;
    $("empty").hidden = true;
    $("frame").hidden = false;
    if (!this.live) {
      this.#chosen = null;
      this.shown = null;
      $("save").disabled = true;
      this.#caption("Not explained yet");
    }
    // In a video the last picture stays until the map of the next is there.
    if (!this.shown) this.#drawPhoto(picture);
    return this.explain();
  }

  /**
   * Explain a class; the chosen class again means the top class.
   *
   * @param {number} index
   */
  chooseClass(index) {
    this.#chosen = index === this.#chosen ? null : index;
    this.explain();
  }

  /** @param {string} name one of COLOR_MAPS. */
  setColors(name) {
    this.#colors = name;
    this.#drawHeat();
  }

  /**
   * Run on another backend.
   *
   * @param {import("./runner.js").Backend} backend
   */
  useBackend(backend) {
    this.#runner.use(backend);
    return this.explain();
  }

  /** Stop what runs: methods with many runs of the model may take minutes. */
  stop() {
    this.#runner.use(this.#runner.backend);
  }

  /** The name of the class whose map is shown. */
  get label() {
    return this.shown ? labelOf(this.shown.exported.labels, this.shown.explained) : "";
  }

  async #explainOnce() {
    const { picture, choice } = this;
    const exported = this.#exported;
    if (!picture || !choice || !exported) return;
    const { width, height } = picture.pixels;
    const feeds = {
      [exported.input]: exported.preprocess
        ? preparedTensor(exported.preprocess, picture.pixels)
        : { type: "uint8", data: rgbOf(picture.pixels), dims: [height, width, 3] },
      [exported.names.target]: { type: "int64", data: BigInt64Array.of(BigInt(this.#chosen ?? -1)), dims: [1] },
    };
    const ran = await this.#task(choice.file, () =>
      this.#runner.run(choice.source, feeds, wantedOutputs(exported)),
    );
    if (!ran) this.#showFacts();
    if (!ran || picture !== this.picture || choice !== this.choice) return;
    const { outputs, milliseconds, threads } = ran;
    this.shown = { ...readAnswer(exported, outputs), picture, exported, choice, milliseconds, threads };
    this.#show();
    document.dispatchEvent(new CustomEvent("explained", { detail: this.shown }));
  }

  /**
   * Do something that takes time and may fail with a message.
   *
   * @template T
   * @param {string} file the name of the file that it is about.
   * @param {() => Promise<T>} step
   * @returns {Promise<T | null>} null after an error.
   */
  async #task(file, step) {
    const start = Date.now();
    const tick = setInterval(() => showFacts({ Running: `${Math.round((Date.now() - start) / 1000)} s` }), 1000);
    this.#tasks += 1;
    $("busy").hidden = false;
    try {
      return await step();
    } catch (error) {
      showMessage(userError(error, file));
      return null;
    } finally {
      clearInterval(tick);
      this.#tasks -= 1;
      $("busy").hidden = this.#tasks === 0;
    }
  }

  #show() {
    const shown = /** @type {Shown} */ (this.shown);
    const { shares, softmax } = sharesOf(shown.scores);
    const rows = topRows(shares, shown.exported.labels, this.#chosen);
    showRows(rows, shown.explained, (index) => this.chooseClass(index));
    $("classes-hint").textContent = softmax
      ? "Choose one to see where the model finds it. Shares are the softmax of the scores."
      : "Choose one to see where the model finds it.";
    if (this.live) this.#drawPhoto(shown.picture);
    this.#drawHeat();
    this.#captionOfAnswer(shown);
    this.#showFacts();
    $("save").disabled = false;
  }

  /** @param {import("./pictures.js").Picture} picture */
  #drawPhoto({ pixels, name }) {
    $("frame").style.setProperty("--ratio", String(pixels.width / pixels.height));
    putPixels($("photo"), pixels);
    $("photo").setAttribute("aria-label", `Picture: ${name}`);
    Object.assign($("heat"), { width: pixels.width, height: pixels.height });
  }

  #drawHeat() {
    if (!this.shown) return;
    const { exported, picture, heatmap, size, status } = this.shown;
    $("heat").hidden = status !== 0;
    if (status !== 0) return;
    const { width, height } = picture.pixels;
    const region = exported.preprocess
      ? seenRegion(exported.preprocess, picture.pixels)
      : { left: 0, top: 0, width, height };
    drawHeat($("heat"), heatmap, size, region, this.#colors);
  }

  /** @param {Shown} shown */
  #captionOfAnswer({ status, choice }) {
    const problem = statusText(status, this.label);
    if (problem) this.#caption(problem);
    else this.#caption(element("strong", {}, this.label), `, explained by ${choice.method}`);
    $("caption").classList.toggle("problem", Boolean(problem));
    if (!this.live) $("announcement").textContent = $("caption").textContent;
  }

  /** @param {(Node | string)[]} parts */
  #caption(...parts) {
    $("caption").replaceChildren(...parts);
    $("caption").classList.remove("problem");
  }

  #showFacts() {
    if (!this.shown) {
      showFacts({});
      return;
    }
    const { milliseconds, threads, picture, choice } = this.shown;
    $("backend").value = this.#runner.backend;
    const { width, height } = picture.pixels;
    const reduced = picture.original[0] > width ? `, reduced from ${picture.original.join(" × ")}` : "";
    const cores = `CPU (WebAssembly, ${threads === 1 ? "1 thread" : `${threads} threads`})`;
    showFacts({
      "One run": duration(milliseconds),
      "Camera": this.live && this.rate ? `${this.rate.toFixed(1)} pictures a second` : "",
      "Runs on": this.#runner.backend === "webgpu" ? "GPU (WebGPU)" : cores,
      "Picture": `${width} × ${height} pixels${reduced}`,
      "File": choice.file,
    });
  }
}

/** Starts the page and connects its controls. */

import { App } from "./app.js";
import { loadCatalog } from "./catalog.js";
import { UserError } from "./errors.js";
import { COLOR_MAPS, gradientOf, overlayPng } from "./overlay.js";
import { loadPicture } from "./pictures.js";
import { Runner, hasGpu } from "./runner.js";
import { listenForCamera, listenForFiles, showExamples } from "./sources.js";
import { $, element, showMessage, showNoRows, showRadios } from "./view.js";

/** @typedef {import("./app.js").Choice} Choice */

const gpu = await hasGpu();
const app = new App(new Runner(gpu ? "webgpu" : "wasm"));
/** @type {Choice[]} */
const choices = [];

/**
 * Open a file, then show which one is open.
 *
 * @param {Choice | undefined} choice
 */
async function open(choice) {
  if (choice && (await app.open(choice)) && !choices.includes(choice)) choices.push(choice);
  showChoices();
}

function showChoices() {
  const { model, method } = app.choice ?? choices[0] ?? {};
  const models = [...new Set(choices.map((choice) => choice.model))];
  $("model-field").hidden = models.length < 2;
  $("model").replaceChildren(
    ...models.map((name) => element("option", { value: name, selected: name === model }, name)),
  );
  const methods = choices.filter((choice) => choice.model === model).map((choice) => choice.method);
  showRadios(
    $("methods"),
    methods.map((name) => ({ value: name, face: element("span", {}, name) })),
    method ?? "",
    (name) => open(choices.find((choice) => choice.model === model && choice.method === name)),
  );
}

/**
 * A choice for a file that the user gave.
 *
 * @param {File} file
 * @returns {Choice}
 */
function choiceOf(file) {
  const id = `${file.name} ${file.lastModified} ${file.size}`;
  return { model: file.name, method: "", file: file.name, source: { id, file } };
}

function connectOverlay() {
  const faces = COLOR_MAPS.map((name) => {
    const face = element("span");
    face.style.background = gradientOf(name);
    return { value: name, face };
  });
  const pick = (/** @type {string} */ name) => {
    app.setColors(name);
    $("legend-bar").style.background = gradientOf(name);
  };
  showRadios($("colors"), faces, COLOR_MAPS[0], pick);
  pick(COLOR_MAPS[0]);
  const opacity = $("opacity");
  opacity.addEventListener("input", () => {
    $("heat").style.opacity = String(opacity.value / 100);
    $("opacity-value").textContent = `${opacity.value} %`;
  });
  $("save").addEventListener("click", save);
}

async function save() {
  if (!app.shown) return;
  const opacity = app.shown.status === 0 ? $("opacity").value / 100 : 0;
  const blob = await overlayPng($("photo"), $("heat"), opacity);
  const name = [app.shown.picture.name.replace(/\.\w+$/, ""), app.label, app.shown.choice.method];
  const download = `${name.join(".").replace(/[^\w.-]+/g, "_")}.png`;
  const href = URL.createObjectURL(blob);
  element("a", { href, download }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/**
 * Show the first example, if there is one, and the user has not shown another picture by then.
 *
 * @param {import("./catalog.js").Example[]} examples
 */
async function showFirst([first]) {
  const picture = first && (await loadPicture(first.file, first.name).catch(() => null));
  if (picture && !app.picture) app.setPicture(picture);
}

async function start() {
  $("not-started").remove();
  showNoRows();
  connectOverlay();
  $("message-close").addEventListener("click", () => showMessage(null));
  $("model").addEventListener("change", () =>
    open(choices.find((choice) => choice.model === $("model").value)),
  );
  $("stop").addEventListener("click", () => app.stop());
  $("backend-field").hidden = !gpu;
  $("backend").addEventListener("change", () => app.useBackend($("backend").value));
  const stopCamera = listenForCamera(app);
  const actions = {
    onPicture: (/** @type {import("./pictures.js").Picture} */ picture) => {
      stopCamera();
      app.setPicture(picture);
    },
    onModel: (/** @type {File} */ file) => open(choiceOf(file)),
  };
  listenForFiles(actions);
  try {
    const { files, pictures } = await loadCatalog();
    for (const { file, model, method } of files) {
      const name = file.split("/").pop() ?? file;
      choices.push({ model, method, file: name, source: { id: file, url: new URL(file, location.href).href } });
    }
    showExamples(pictures, actions);
    showChoices();
    showFirst(pictures);
    await open(choices[0]);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    showMessage(error);
  }
}

await start();

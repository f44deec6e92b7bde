/** Where pictures and files come from: choosing, dropping, pasting, examples and the camera. */

import { Camera } from "./camera.js";
import { UserError } from "./errors.js";
import { decodePicture, loadPicture } from "./pictures.js";
import { $, element, setFace, showMessage } from "./view.js";

/**
 * @typedef {import("./app.js").App} App
 *
 * @typedef {object} Actions
 * @property {(picture: import("./pictures.js").Picture) => void} onPicture
 * @property {(file: File) => void} onModel
 */

/**
 * Do something, and show the error if it fails with one for the user.
 *
 * @param {() => Promise<void>} step
 */
async function withMessage(step) {
  try {
    showMessage(null);
    await step();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    showMessage(error);
  }
}

/**
 * Give files to the page: a picture, an exported file, or both.
 *
 * @param {Iterable<File>} files
 * @param {Actions} actions
 */
function take(files, { onPicture, onModel }) {
  return withMessage(async () => {
    const given = [...files];
    if (!given.length) throw new UserError("That is not a file. Drop a picture, or an .onnx file.");
    for (const file of given) {
      if (file.name.toLowerCase().endsWith(".onnx")) onModel(file);
      else onPicture(await decodePicture(file, file.name));
    }
  });
}

/** @param {Actions} actions */
export function listenForFiles(actions) {
  for (const kind of ["picture", "model"]) {
    const input = $(`${kind}-input`);
    $(`choose-${kind}`).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      take(input.files, actions);
      input.value = ""; // so that choosing the same file again is a change
    });
  }
  document.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData?.files.length) take(clipboardData.files, actions);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop-hint").hidden = false;
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    $("drop-hint").hidden = relatedTarget === null;
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop-hint").hidden = true;
    take(event.dataTransfer?.files ?? [], actions);
  });
}

/**
 * Show the example pictures. Those that cannot be loaded are left out.
 *
 * @param {import("./catalog.js").Example[]} examples
 * @param {Actions} actions
 */
export function showExamples(examples, { onPicture }) {
  for (const { file, name } of examples) {
    const image = element("img", { src: file, alt: "", loading: "lazy" });
    const button = element("button", { type: "button", title: name }, image);
    button.setAttribute("aria-label", `Example: ${name}`);
    const item = element("li", {}, button);
    image.addEventListener("error", () => item.remove());
    button.addEventListener("click", () =>
      withMessage(async () => onPicture(await loadPicture(file, name))),
    );
    $("examples").append(item);
  }
}

/**
 * Explain what the camera sees, as fast as the device can, until it is stopped.
 *
 * @param {App} app
 */
export function listenForCamera(app) {
  const camera = new Camera();
  let paused = false;

  const show = () => {
    app.live = camera.on && !paused;
    $("live").hidden = !app.live;
    $("pause").hidden = !camera.on;
    $("camera").setAttribute("aria-pressed", String(camera.on));
    setFace($("camera"), camera.on ? "close" : "camera", camera.on ? "Stop the camera" : "Use the camera");
    setFace($("pause"), paused ? "play" : "pause", paused ? "Continue" : "Pause");
  };

  const loop = async () => {
    for (let last = performance.now(); app.live; ) {
      await app.setPicture(camera.frame());
      // No frame is drawn while the page is hidden, so the camera waits too.
      const now = await new Promise(requestAnimationFrame);
      app.rate = 0.8 * app.rate + (0.2 * 1000) / (now - last);
      last = now;
    }
  };

  const stop = () => {
    camera.stop();
    show();
  };

  $("camera").addEventListener("click", () =>
    withMessage(async () => {
      if (camera.on) return stop();
      paused = false;
      await camera.start(stop);
      show();
      loop();
    }),
  );
  $("pause").addEventListener("click", () => {
    paused = !paused;
    show();
    if (!paused) loop();
  });
  return stop;
}

/** What the page needs of an exported file: names of inputs and outputs, and what the metadata says. */

import { UserError } from "./errors.js";
import { readPreprocess } from "./preprocess.js";

/**
 * @typedef {object} Exported
 * @property {string} file its name.
 * @property {string} input the picture's input.
 * @property {import("./preprocess.js").Preprocess | null} preprocess what is done to the picture
 *   before the file gets it, or null if the file does everything.
 * @property {string} scores the output with one number for each class.
 * @property {string} method
 * @property {string[]} labels may be empty.
 */

const EXPLAINED = ["heatmap", "status", "explained"];
const OF_THE_METHOD = ["values", "overlay", ...EXPLAINED];
const COMMAND = "onnxplain export model.onnx --method gradcam --with-preprocessing -o model.gradcam.onnx";

/**
 * @param {string} file its name.
 * @param {import("./worker.js").Opened} opened
 * @returns {Exported}
 * @throws {UserError} if the page cannot use the file.
 */
export function readContract(file, { inputs, outputs, metadata }) {
  const names = [...inputs, ...outputs].map((port) => port.name);
  const missing = ["target", ...EXPLAINED].filter((name) => !names.includes(name));
  if (missing.length) {
    throw new UserError(
      `${file} is an ONNX model without an explanation: it has no ${missing.join(", ")}. Write one with:`,
      COMMAND,
    );
  }
  const own = inputs.filter((port) => port.name !== "target");
  if (own.length !== 1) {
    throw new UserError(`${file} has ${own.length} inputs besides target; this page gives one, a picture.`);
  }
  const scores = outputs.find((port) => !OF_THE_METHOD.includes(port.name) && port.shape.length === 2);
  if (!scores) {
    throw new UserError(
      `${file} has no output with one number for each class; this page shows models that classify.`,
    );
  }
  return {
    file,
    input: own[0].name,
    preprocess: own[0].name === "picture" ? null : readPreprocess(file, metadata, COMMAND),
    scores: scores.name,
    method: metadata["onnxplain.method"] ?? "",
    labels: JSON.parse(metadata["onnxplain.labels"] ?? "[]"),
  };
}

/**
 * The outputs to ask for.
 *
 * @param {Exported} exported
 */
export function wantedOutputs(exported) {
  return [exported.scores, ...EXPLAINED];
}

/**
 * @typedef {object} Answer
 * @property {Float32Array} scores one number for each class.
 * @property {Float32Array} heatmap in [0, 1], row by row.
 * @property {[number, number]} size rows and columns of the heatmap.
 * @property {number} explained the class.
 * @property {number} status
 *
 * @param {Exported} exported
 * @param {Record<string, import("./worker.js").Plain>} outputs
 * @returns {Answer}
 */
export function readAnswer(exported, outputs) {
  const [rows, columns] = outputs.heatmap.dims.slice(-2);
  return {
    scores: Float32Array.from(outputs[exported.scores].data),
    heatmap: outputs.heatmap.data,
    size: [rows, columns],
    explained: Number(outputs.explained.data[0]),
    status: Number(outputs.status.data[0]),
  };
}

/**
 * What a status other than 0 means, as sentences.
 *
 * @param {number} status
 * @param {string} label of the class.
 */
export function statusText(status, label) {
  return {
    1: `The map for ${label} is the same everywhere: by this method no place matters more than another. Try another method or class.`,
    2: `The map for ${label} has values that are not finite, so it cannot be shown. Try another method.`,
    3: `The model has no ${label}. Choose one of the classes below.`,
  }[status];
}

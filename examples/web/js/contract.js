/** What the page needs of an exported file: names of inputs and outputs, and what the metadata says. */

import { UserError } from "./errors.js";
import { readPreprocess } from "./preprocess.js";

/**
 * @typedef {Record<"target" | "heatmap" | "status" | "explained", string>} Names of what the method
 *   has added to the model.
 *
 * @typedef {object} Exported
 * @property {string} input the picture's input.
 * @property {import("./preprocess.js").Preprocess | null} preprocess what is done to the picture
 *   before the file gets it, or null if the file does everything.
 * @property {string} scores the output with one number for each class.
 * @property {Names} names
 * @property {string} method
 * @property {string[]} labels may be empty.
 */

const COMMAND = "onnxplain export model.onnx --method gradcam --with-preprocessing -o model.gradcam.onnx";

/**
 * @param {string} file its name.
 * @param {import("./worker.js").Opened} opened
 * @returns {Exported}
 * @throws {UserError} if the page cannot use the file.
 */
export function readContract(file, { inputs, outputs, metadata }) {
  if (!metadata["onnxplain.version"]) {
    throw new UserError(`${file} is an ONNX model that does not explain itself. Export one that does:`, COMMAND);
  }
  const names = JSON.parse(metadata["onnxplain.names"]);
  const own = inputs.filter((port) => port.name !== names.target);
  if (own.length === inputs.length) {
    throw new UserError(
      `${file} explains only one thing, ${metadata["onnxplain.target"]}. Export it without --target, so that classes can be chosen.`,
    );
  }
  const ofTheMethod = new Set(Object.values(names));
  const scores = outputs.find((port) => !ofTheMethod.has(port.name) && port.shape.length === 2);
  if (!scores) {
    throw new UserError(
      `${file} has no output with one number for each class; this page is for models that classify.`,
    );
  }
  if (own.length !== 1) {
    throw new UserError(`${file} reads ${own.length} inputs; this page has only one for it, a picture.`);
  }
  const [input] = own;
  return {
    input: input.name,
    preprocess: takesPicture(input) ? null : readPreprocess(file, metadata, COMMAND),
    scores: scores.name,
    names,
    method: metadata["onnxplain.method"],
    labels: JSON.parse(metadata["onnxplain.labels"] ?? "[]"),
  };
}

/**
 * Whether an input is (height, width, 3) of bytes: that of `--with-preprocessing`.
 *
 * @param {import("./worker.js").Port} input
 */
function takesPicture({ type, shape }) {
  return type === "uint8" && shape.length === 3;
}

/**
 * The outputs to ask for.
 *
 * @param {Exported} exported
 */
export function wantedOutputs({ scores, names }) {
  return [scores, names.heatmap, names.status, names.explained];
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
export function readAnswer({ scores, names }, outputs) {
  const [rows, columns] = outputs[names.heatmap].dims.slice(-2);
  return {
    scores: Float32Array.from(outputs[scores].data),
    heatmap: outputs[names.heatmap].data,
    size: [rows, columns],
    explained: Number(outputs[names.explained].data[0]),
    status: Number(outputs[names.status].data[0]),
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
    3: `The model has no ${label}. Choose a class in the list.`,
  }[status];
}

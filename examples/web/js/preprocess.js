/**
 * The input of a file that was exported without `--with-preprocessing`.
 *
 * The browser resizes the picture, so scores and maps differ a little from those of Python.
 */

import { UserError } from "./errors.js";

/**
 * @typedef {object} Preprocess settings as onnxplain writes them: (value * scale - mean) / std.
 * @property {[number, number]} size rows and columns.
 * @property {"NCHW" | "NHWC"} layout
 * @property {"RGB" | "BGR"} channels also the order of mean and std.
 * @property {"stretch" | "crop"} fit
 * @property {number | null} resize the short side before a crop.
 * @property {number} scale
 * @property {number[]} mean
 * @property {number[]} std
 *
 * @typedef {{left: number, top: number, width: number, height: number}} Region of the picture, in pixels.
 */

const DEFAULTS = { layout: "NCHW", channels: "RGB", fit: "stretch", resize: null, scale: 1, mean: [0], std: [1] };
const POSSIBLE = { layout: ["NCHW", "NHWC"], channels: ["RGB", "BGR"], fit: ["stretch", "crop"] };

/**
 * @param {string} file its name.
 * @param {Record<string, string>} metadata
 * @param {string} command what to do instead.
 * @returns {Preprocess}
 * @throws {UserError} if the settings are missing, or of a kind that only Python can do.
 */
export function readPreprocess(file, metadata, command) {
  const settings = { ...DEFAULTS, ...JSON.parse(metadata["onnxplain.preprocess"] ?? "{}") };
  const known = Object.entries(POSSIBLE).every(([name, values]) => values.includes(settings[name]));
  const sides = [settings.size].flat();
  const fixed = sides.length === 2 && sides.every(Number.isInteger);
  if (!known || !fixed || Array.isArray(settings.resize)) {
    throw new UserError(
      `${file} takes a prepared tensor, and its metadata does not say how this page can prepare it. ` +
        "Let the file prepare the picture itself:",
      command,
    );
  }
  return { ...settings, mean: [settings.mean].flat(), std: [settings.std].flat() };
}

/**
 * The part of the picture that the model sees.
 *
 * @param {Preprocess} preprocess
 * @param {ImageData} pixels
 * @returns {Region}
 */
export function seenRegion({ fit, size: [rows, columns], resize }, { width, height }) {
  if (fit === "stretch") return { left: 0, top: 0, width, height };
  const scale = Math.min(width, height) / (resize ?? Math.min(rows, columns));
  const seen = { width: Math.min(width, columns * scale), height: Math.min(height, rows * scale) };
  return { left: (width - seen.width) / 2, top: (height - seen.height) / 2, ...seen };
}

/**
 * @param {Preprocess} preprocess
 * @param {ImageData} pixels
 * @returns {import("./worker.js").Plain} float32, a batch of one.
 */
export function preparedTensor(preprocess, pixels) {
  const { layout, channels, scale, mean, std } = preprocess;
  const [rows, columns] = preprocess.size;
  const { data } = resized(pixels, seenRegion(preprocess, pixels), rows, columns);
  const order = channels === "RGB" ? [0, 1, 2] : [2, 1, 0];
  const cells = rows * columns;
  const tensor = new Float32Array(3 * cells);
  order.forEach((from, channel) => {
    const [shift, divisor] = [mean, std].map((values) => values[channel % values.length]);
    for (let cell = 0; cell < cells; cell++) {
      const at = layout === "NCHW" ? channel * cells + cell : 3 * cell + channel;
      tensor[at] = (data[4 * cell + from] * scale - shift) / divisor;
    }
  });
  const dims = layout === "NCHW" ? [1, 3, rows, columns] : [1, rows, columns, 3];
  return { type: "float32", data: tensor, dims };
}

/**
 * @param {ImageData} pixels
 * @param {Region} region
 * @param {number} height
 * @param {number} width
 */
function resized(pixels, { left, top, width: seenWidth, height: seenHeight }, height, width) {
  const whole = Object.assign(document.createElement("canvas"), { width: pixels.width, height: pixels.height });
  whole.getContext("2d")?.putImageData(pixels, 0, 0);
  const small = Object.assign(document.createElement("canvas"), { width, height });
  const context = /** @type {CanvasRenderingContext2D} */ (
    small.getContext("2d", { willReadFrequently: true })
  );
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, left, top, seenWidth, seenHeight, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

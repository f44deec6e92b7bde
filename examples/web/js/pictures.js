/** Pictures as pixels: of files, of addresses, and of the camera's video. */

import { UserError } from "./errors.js";

/**
 * @typedef {object} Picture
 * @property {ImageData} pixels opaque.
 * @property {string} name
 * @property {[number, number]} original width and height before it was reduced.
 */

const LARGEST_SIDE = 1280; // larger pictures are reduced: their maps would need much memory

/**
 * @param {ImageBitmap | HTMLVideoElement} source
 * @param {[number, number]} size its width and height.
 * @param {string} name
 * @param {number} [largest] the largest side.
 * @returns {Picture}
 */
export function pictureFrom(source, size, name, largest = LARGEST_SIDE) {
  const shrink = Math.min(1, largest / Math.max(...size));
  const [width, height] = size.map((side) => Math.max(1, Math.round(side * shrink)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = /** @type {CanvasRenderingContext2D} */ (
    canvas.getContext("2d", { willReadFrequently: true })
  );
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 3; at < pixels.data.length; at += 4) pixels.data[at] = 255;
  return { pixels, name, original: size };
}

/**
 * Decode a file as onnxplain does: turned as its EXIF says, with neither colors converted nor alpha.
 *
 * @param {Blob} file
 * @param {string} name
 * @returns {Promise<Picture>}
 * @throws {UserError} if the browser cannot read it.
 */
export async function decodePicture(file, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new UserError(`The browser cannot read ${name} as a picture. JPEG, PNG and WebP files work.`);
  }
  const picture = pictureFrom(bitmap, [bitmap.width, bitmap.height], name);
  bitmap.close();
  return picture;
}

/**
 * @param {string} url
 * @param {string} name
 * @returns {Promise<Picture>}
 * @throws {UserError} if it cannot be loaded.
 */
export async function loadPicture(url, name) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new UserError(`The picture ${url} could not be loaded.`);
  return decodePicture(await response.blob(), name);
}

/**
 * The colors of a picture without alpha.
 *
 * @param {ImageData} pixels
 * @returns {Uint8Array} (height, width, 3), RGB.
 */
export function rgbOf({ data, width, height }) {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + 1];
    rgb[to + 2] = data[from + 2];
  }
  return rgb;
}

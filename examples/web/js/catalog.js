/** models.json: the exported files and the example pictures that the page offers. */

import { UserError } from "./errors.js";

/**
 * @typedef {object} Entry an exported file.
 * @property {string} file its address, relative to the page.
 * @property {string} model the name of the model.
 * @property {string} method the name of the method.
 *
 * @typedef {{file: string, name: string}} Example a picture.
 * @typedef {{files: Entry[], pictures: Example[]}} Catalog
 */

/**
 * @returns {Promise<Catalog>}
 * @throws {UserError} if there is no such file, or it cannot be understood.
 */
export async function loadCatalog() {
  const response = await fetch("models.json", { cache: "no-cache" }).catch(() => null);
  if (!response?.ok) {
    throw new UserError("There is no models.json beside the page, so it offers no model. Open an exported file instead.");
  }
  try {
    const { files, pictures } = await response.json();
    for (const { file, model, method } of files) {
      if (!file || !model || !method) throw new Error("each of its files needs file, model and method");
    }
    return { files, pictures: pictures ?? [] };
  } catch (error) {
    throw new UserError(`models.json cannot be read: ${/** @type {Error} */ (error).message}.`);
  }
}

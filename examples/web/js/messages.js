/** Errors of the worker, in the words of the page. */

import { UserError } from "./errors.js";

const INSTALL = "npm install --prefix examples/web --no-save --ignore-scripts onnxruntime-web@1.30.0";

/** @type {Record<string, (file: string, reason: string) => UserError>} */
const TEXTS = {
  runtime: () =>
    new UserError(
      "The files of ONNX Runtime are not beside this page, or this browser cannot run them. Get them in the repository, then load the page again:",
      INSTALL,
    ),
  download: (file, reason) =>
    new UserError(
      `${file} could not be loaded (${reason}). README.md in examples/web has the commands that write the files in models.json.`,
    ),
  "not-onnx": (file) => new UserError(`${file} is not an ONNX file, or it is damaged.`),
  session: (file, reason) =>
    /external data|MountedFiles/i.test(reason)
      ? new UserError(`The weights of ${file} are in another file. Export it without --external-data.`)
      : new UserError(`ONNX Runtime cannot open ${file}: ${reason}`),
  run: (file, reason) => new UserError(`${file} cannot run on this picture: ${reason}`),
  worker: (_, reason) => new UserError(`${reason} Load the page again.`),
};

/**
 * @param {unknown} error
 * @param {string} file the name of the file that was opened or run.
 * @returns {UserError | null} null if nothing is to be said.
 */
export function userError(error, file) {
  if (error instanceof UserError) return error;
  const { kind, message } = /** @type {import("./runner.js").RunnerError} */ (error);
  if (kind === "stopped") return null;
  if (!(kind in TEXTS)) throw error;
  return TEXTS[kind](file, message);
}

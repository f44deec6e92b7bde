/** The camera's video, frame by frame. */

import { UserError } from "./errors.js";
import { pictureFrom } from "./pictures.js";

const LARGEST_SIDE = 640;
/** @type {Record<string, string>} */
const REASONS = {
  NotAllowedError: "The browser did not allow the use of the camera. Allow it for this page and try again.",
  NotFoundError: "There is no camera on this device.",
  NotReadableError: "Another program uses the camera. Close it and try again.",
};

export class Camera {
  /** @type {MediaStream | null} */ #stream = null;
  #video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });

  /** Whether the camera is on. */
  get on() {
    return this.#stream !== null;
  }

  /**
   * Start the camera, where there are two the one that looks away from the user.
   *
   * @param {() => void} onEnd called if the camera stops without being asked to.
   * @throws {UserError} if there is none, or it is not allowed.
   */
  async start(onEnd) {
    if (!navigator.mediaDevices) {
      throw new UserError("Browsers give the camera only to pages from https or from localhost.");
    }
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      this.#stream.getVideoTracks()[0].addEventListener("ended", onEnd);
      this.#video.srcObject = this.#stream;
      await this.#video.play();
    } catch (error) {
      this.stop();
      const { name, message } = /** @type {DOMException} */ (error);
      throw new UserError(REASONS[name] ?? `The camera did not start: ${message}.`);
    }
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.#video.srcObject = null;
  }

  /** What the camera sees now, as a picture. */
  frame() {
    const { videoWidth, videoHeight } = this.#video;
    return pictureFrom(this.#video, [videoWidth, videoHeight], "camera", LARGEST_SIDE);
  }
}

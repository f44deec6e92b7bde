/**
 * A function that runs a task, and once more if it was called in the meantime: calls that come faster
 * than the task can run are not queued.
 *
 * @param {() => Promise<void>} task
 * @returns {() => Promise<void>} done when no run is left.
 */
export function latestOnly(task) {
  /** @type {Promise<void> | null} */
  let running = null;
  let wanted = false;
  const runAll = async () => {
    try {
      while (wanted) {
        wanted = false;
        await task();
      }
    } finally {
      running = null;
    }
  };
  return () => {
    wanted = true;
    return (running ??= runAll());
  };
}

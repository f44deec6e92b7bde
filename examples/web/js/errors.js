/** An error that the page shows as it is: what is wrong, and what to do. */
export class UserError extends Error {
  /**
   * @param {string} message sentences for the user.
   * @param {string} [command] a command that helps, shown below the sentences.
   */
  constructor(message, command) {
    super(message);
    this.command = command;
  }
}

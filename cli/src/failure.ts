/** Something a person must mend before the command can go on: a message for them, without a stack. */
export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
}

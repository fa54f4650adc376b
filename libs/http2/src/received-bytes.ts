/**
 * Bytes that the process's connections have received and their readers have not taken, parts of messages included. Each
 * stream and connection has a window; `processReceivedBytesMax` bounds them all, however many there are.
 */
export const received = { bytes: 0 };

// Package imapwire is the grammar of IMAP4rev1 (RFC 3501) and IMAP4rev2
// (RFC 9051), from bytes to values and back. It knows no mailbox, no command
// and no connection.
//
// The law of the package:
//
//   - A Decoder reads one command at a time. Every word of the grammar is a
//     method; the first error is kept and later calls do nothing, so a caller
//     chains reads and asks once, with End or Err.
//   - Reading and parsing cannot get out of step. A line that closes with
//     {n+} is followed by n bytes, whatever becomes of the command; Finish
//     consumes them, or says that the connection must be closed. No byte of a
//     literal is ever taken for a command (RFC 7888 section 4).
//   - Nothing grows without bound: a command with its literals is at most
//     Limits.Command bytes, and only StreamLiteral gives out more, as a stream.
//   - An Encoder appends to a buffer borrowed from a pool and gives it back at
//     each Flush, so that a silent connection holds none. Literals of any size
//     pass through that buffer.
package imapwire

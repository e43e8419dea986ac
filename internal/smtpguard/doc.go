// Package smtpguard runs SMTP and LMTP servers on go-smtp with a guard between
// the network and the library. Doors give it a session for each conversation;
// what the library gets wrong, the guard does itself.
//
// Its law:
//
//   - The library sees one well-formed command at a time, and only those of the
//     table in commands.go in the states given there. Everything else is
//     answered here. It never sees a byte that came behind a command.
//   - Only CRLF ends a line and only CRLF.CRLF ends a message. A bare CR or LF
//     within a message is answered 554 5.5.2 and ends the connection, in DATA
//     and in BDAT, however the bytes are cut into segments (SMTP smuggling).
//   - What was sent in clear before TLS is forgotten after it: the guard owns
//     STARTTLS, and the conversation begins anew with another session.
//   - A chunk whose length cannot be known ends the connection.
//   - Everything has a limit: line, errors, failed sign-ins, silence,
//     connections per address and altogether.
//   - A panic ends one connection and is logged with its stack.
//
// Replies are gathered while commands are waiting (RFC 2920 section 3.2) and
// sent before the guard waits for the network.
package smtpguard

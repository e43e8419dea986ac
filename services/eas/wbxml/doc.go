// Package wbxml reads and writes the binary XML of Exchange ActiveSync
// (MS-ASWBXML): WBXML 1.3 with 26 fixed code pages, no attributes and no string
// table.
//
// Its law:
//
//   - It knows bytes and names, no mailboxes and no commands.
//   - Everything read has a limit (Limits), and nothing is allocated on the word
//     of a length field: memory grows with the bytes that really arrived.
//   - A Decoder and an Encoder keep their first error. Callers chain calls and
//     ask once, with Err or Flush. A Decoder's error names the byte offset and
//     the code page.
//   - Large binary values (a message in ComposeMail:Mime, a picture) pass through
//     as an io.Reader and are never held here.
//   - Text is valid UTF-8 without characters that XML 1.0 forbids, in both
//     directions: a stray NUL would cut the stream, because strings end with one.
//   - An unknown element is no error. It keeps its page and token, and its caller
//     skips it.
//
// A command with a small body is read as a tree (Decoder.Tree) of Nodes; a large
// one is pulled (Decoder.Children, Decoder.Next). For tests and logs there is a
// text form, which Format writes and Parse reads:
//
//	<AirSync:Sync>
//	  <Collections>
//	    <Collection>
//	      <SyncKey>0</SyncKey>
//	    </Collection>
//	  </Collections>
//	</AirSync:Sync>
//
// A page's name stands where the page changes and is inherited otherwise.
package wbxml

//go:generate go run ./gen

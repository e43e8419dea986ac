// Package envelope is what travels with a message between our own doors: its
// id, its reverse path, the trace headers written so far, and the bytes kept
// aside until somebody has committed them.
//
// Its law: the id of a message is given out once, where the message comes in,
// and goes along unchanged through queue, LMTP and every retry, so that each
// hand-over can be repeated without doubling the message. The bytes of a
// message are never changed on the way; what a door adds is a trace header in
// front of them. No message is ever whole in memory.
package envelope

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// MaxID is the longest id of a message, in bytes.
const MaxID = 128

// Envelope is a message's envelope but for its recipients.
type Envelope struct {
	ID      string    // unique, of the characters [A-Za-z0-9.:_-]
	From    string    // reverse path, canonical; "" is the null sender
	Hop     *Hop      // how it came in at this door; nil if it did not
	Trace   []byte    // trace headers of earlier hops of ours, newest first, CRLF lines
	Trusted bool      // from a signed-in user or one of our mailboxes: its sender is known, and told of failures
	Tell    bool      // its sender is told of failures although nobody knows who it is: others have the message
	UTF8    bool      // SMTPUTF8: addresses or headers hold UTF-8 (RFC 6531)
	Created time.Time // when the organisation took it; zero: now
}

// Submission is a message for the queue.
type Submission struct {
	Envelope
	To        []string
	NotBefore time.Time // zero: at once
}

// NewID gives out an id. Ids sort by time to the second.
func NewID(now time.Time) string {
	var b [10]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x.%s", now.Unix(), ids.EncodeToString(b[:]))
}

var ids = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ValidID tells whether a peer's id can be taken over.
func ValidID(s string) bool {
	if s == "" || len(s) > MaxID {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".:_-", c) >= 0) {
			return false
		}
	}
	return true
}

// Hop is one reception of a message.
type Hop struct {
	Helo string // as the client called itself
	From netip.Addr
	By   string // our name
	With string // protocol of the registry of RFC 3848: "ESMTPS"
	TLS  string // "TLS1.3 TLS_AES_128_GCM_SHA256", "" without
	ID   string
	Time time.Time
}

// received writes the Received header (RFC 5321 section 4.4). rcpt may be
// empty; with several recipients it must be, since each would see the others.
func (h *Hop) received(rcpt string) []byte {
	var b bytes.Buffer
	b.WriteString("Received: ")
	if h.Helo != "" || h.From.IsValid() {
		helo := traceToken(h.Helo)
		if helo == "" {
			helo = "unknown"
		}
		b.WriteString("from " + helo)
		if h.From.IsValid() {
			a := h.From.Unmap()
			if a.Is6() {
				fmt.Fprintf(&b, " ([IPv6:%s])", a.WithZone(""))
			} else {
				fmt.Fprintf(&b, " ([%s])", a)
			}
		}
		b.WriteString("\r\n\t")
	}
	fmt.Fprintf(&b, "by %s (Waypost)", h.By)
	if h.With != "" {
		b.WriteString(" with " + h.With)
	}
	if h.ID != "" {
		b.WriteString(" id " + h.ID)
	}
	if h.TLS != "" {
		b.WriteString("\r\n\t(" + h.TLS + ")")
	}
	if rcpt != "" {
		b.WriteString("\r\n\tfor <" + rcpt + ">")
	}
	b.WriteString(";\r\n\t" + h.Time.Format(time.RFC1123Z) + "\r\n")
	return b.Bytes()
}

// traceToken keeps what may stand in a Received header unquoted.
func traceToken(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>\";,`, r) {
			return -1
		}
		return r
	}, s[:min(len(s), 255)])
}

// Headers gives the trace headers with this door's own in front, as they go
// along to another door.
func (e *Envelope) Headers(rcpt string) []byte {
	if e.Hop == nil {
		return e.Trace
	}
	return append(e.Hop.received(rcpt), e.Trace...)
}

// Prefix gives the headers that final delivery puts in front of a message for
// one recipient (RFC 5321 section 4.4).
func (e *Envelope) Prefix(rcpt string) []byte {
	var b bytes.Buffer
	b.WriteString("Return-Path: <" + e.From + ">\r\n")
	b.Write(e.Headers(rcpt))
	return b.Bytes()
}

package eas

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

// attachment is a file of a message or an object, ready to be read.
type attachment struct {
	part        *mail.Part
	received    io.ReaderAt
	data        *bytes.Reader // of an object's; the two above are nil
	mediaType   string
	contentType string // with its parameters
}

// reader reads the file without its transfer encoding.
func (a *attachment) reader() io.Reader {
	if a.data != nil {
		return io.NewSectionReader(a.data, 0, a.data.Size())
	}
	return a.part.Decoded(a.received)
}

// size reads the file once to know its length, unless it is stored as it is.
func (a *attachment) size() (int64, error) {
	if a.data != nil {
		return a.data.Size(), nil
	}
	switch a.part.Encoding {
	case "7bit", "8bit", "binary":
		return a.part.Size(), nil
	}
	n, err := io.Copy(io.Discard, a.reader())
	if err != nil {
		return 0, fmt.Errorf("read attachment: %w", err)
	}
	return n, nil
}

// attachment finds the file that a FileReference names.
func (s *Server) attachment(ctx context.Context, r *request, ref string) (*attachment, error) {
	if item, id, ok := parseObjectReference(strings.TrimSpace(ref)); ok {
		return s.objectFile(ctx, r, item, id)
	}
	item, path, ok := parseReference(strings.TrimSpace(ref))
	if !ok {
		return nil, fault.New(fault.Invalid, "no such reference")
	}
	msgs, err := s.store.Messages(ctx, r.who, r.box(), []store.ItemID{item})
	if err != nil {
		return nil, err
	}
	if len(msgs) == 0 || msgs[0] == nil {
		return nil, fault.New(fault.NotFound, "the message is gone")
	}
	p := partAt(msgs[0].Summary.Root, path)
	if p == nil {
		return nil, fault.New(fault.NotFound, "no such attachment")
	}
	received, err := newMessage(ctx, s.store, who{r.who, r.box()}, msgs[0]).received()
	if err != nil {
		return nil, err
	}
	a := &attachment{part: p, mediaType: p.MediaType(), contentType: p.MediaType(), received: received}
	if cs := p.Params["charset"]; p.Type == "text" && cs != "" && !strings.ContainsAny(cs, "\"\\;\r\n ") {
		a.contentType += "; charset=" + cs
	}
	return a, nil
}

// getAttachment answers GetAttachment (MS-ASCMD 2.2.1.7), until 12.1: the
// file's bytes. Failure is HTTP 500.
func (s *Server) getAttachment(ctx context.Context, r *request) error {
	a, err := s.attachment(ctx, r, r.query.attachmentName)
	if err != nil {
		switch fault.Of(err) {
		case fault.NotFound, fault.Invalid:
			return httpError{http.StatusInternalServerError}
		}
		return err
	}
	size, err := a.size()
	if err != nil {
		return err
	}
	return r.replyRaw(a.contentType, size, a.reader())
}

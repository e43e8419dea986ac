package eas

import (
	"context"
	"encoding/hex"
	"io"
	"strings"

	"waypost/services/eas/wbxml"
	"waypost/store"
)

// sendInput is what SendMail, SmartReply and SmartForward are given.
type sendInput struct {
	client  string // ClientId; "" before 14.0
	mime    *spool
	save    bool
	replace bool
	folder  string
	item    string
	long    string
}

// readSend reads a request in both forms: since 14.0 a document, before the
// message itself with the rest in the query.
func readSend(r *request, spools *spooler) (*sendInput, error) {
	if r.before(wbxml.V140) {
		body, err := r.mime()
		if err != nil {
			return nil, err
		}
		in := &sendInput{save: r.query.saveInSent, folder: r.query.collectionID, item: r.query.itemID, long: r.query.longID}
		if in.mime, err = spools.take(body); err != nil {
			return nil, err
		}
		if in.mime.size == 0 {
			return nil, status(StatusInvalidContent)
		}
		return in, nil
	}
	n, err := r.tree(spools.sink)
	if err != nil {
		return nil, err
	}
	in := &sendInput{
		client: n.Get(wbxml.ComposeMailClientId), save: n.Bool(wbxml.ComposeMailSaveInSentItems, false),
		replace: n.Bool(wbxml.ComposeMailReplaceMime, false),
		folder:  n.Get(wbxml.ComposeMailSource, wbxml.ComposeMailFolderId),
		item:    n.Get(wbxml.ComposeMailSource, wbxml.ComposeMailItemId),
		long:    n.Get(wbxml.ComposeMailSource, wbxml.ComposeMailLongId),
	}
	mime := n.Child(wbxml.ComposeMailMime)
	if in.client == "" || len(in.client) > maxSyncID || mime == nil {
		return nil, status(StatusInvalidXML)
	}
	if n.Has(wbxml.ComposeMailSource) && in.item == "" && in.long == "" {
		return nil, status(StatusInvalidIDs)
	}
	in.mime, err = spools.value(mime)
	if err == nil && in.mime.size == 0 {
		err = status(StatusInvalidMIME)
	}
	return in, err
}

// sendMail answers SendMail (MS-ASCMD 2.2.1.17).
func (s *Server) sendMail(ctx context.Context, r *request) error {
	spools := &spooler{}
	defer spools.close()
	in, err := readSend(r, spools)
	if err != nil {
		return err
	}
	c := s.composer(r)
	m, err := c.prepare(ctx, in.mime)
	if err != nil {
		return err
	}
	return s.dispatch(ctx, r, c, in, m, store.Outgoing{}, m.copy)
}

// dispatch stores and sends what out writes. Success is an empty answer.
func (s *Server) dispatch(ctx context.Context, r *request, c *composer, in *sendInput, m *sending, o store.Outgoing, out func(io.Writer) error) error {
	w, err := c.write(ctx, out)
	if err != nil {
		return err
	}
	o.Key = sendKey(r, in, m)
	o.From, o.Recipients, o.Blob, o.Summary = m.from, m.recipients, w.blob, w.summary
	if in.save {
		o.SaveRole = store.RoleSent
	}
	sent, err := s.store.Send(ctx, r.who, r.box(), o)
	if err != nil {
		return err
	}
	if sent.Repeated && !r.before(wbxml.V140) {
		return status(StatusMessagePreviouslySent)
	}
	return r.replyEmpty()
}

// sendKey makes sending safe to repeat after a lost answer: by the phone's
// ClientId, and for older phones by the message itself, when it has anything
// that tells it from another one with the same words.
func sendKey(r *request, in *sendInput, m *sending) string {
	id := random()
	switch {
	case in.client != "":
		id = in.client
	case m.fields.Get("Message-ID") != "" || m.fields.Get("Date") != "":
		id = "sha256:" + hex.EncodeToString(in.mime.sum[:16])
	}
	return strings.Join([]string{r.client(), id}, "/")
}

package eas

import (
	"io"
	"mime"
	"strconv"
	"strings"

	"waypost/internal/mail"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Methods of attachments (MS-ASAIRS 2.2.2.30).
const (
	methodNormal   = 1
	methodEmbedded = 5
)

// attachments writes the files of a message: with AirSyncBase from 12.0 on,
// with the elements of Email before.
func (w *itemWriter) attachments(e *wbxml.Encoder, x *message) {
	if len(x.files) == 0 {
		return
	}
	old := w.version < wbxml.V120
	if old {
		e.Start(wbxml.EmailAttachments)
	} else {
		e.Start(wbxml.AirSyncBaseAttachments)
	}
	for i, p := range x.files {
		ref := fileReference(x.m.Item, x.m.Summary.Root, p)
		name := fileName(p, i)
		method := int64(methodNormal)
		if p.IsMessage() {
			method = methodEmbedded
		}
		id := strings.Trim(p.ID, "<> ")
		if old {
			e.Start(wbxml.EmailAttachment)
			e.Text(wbxml.EmailAttName, ref)
			e.Int(wbxml.EmailAttSize, decodedSize(p))
			if id != "" {
				e.Text(wbxml.EmailAttOid, id)
			}
			e.Int(wbxml.EmailAttMethod, method)
			e.Text(wbxml.EmailDisplayName, name)
			e.End()
			continue
		}
		e.Start(wbxml.AirSyncBaseAttachment)
		e.Text(wbxml.AirSyncBaseDisplayName, name)
		e.Text(wbxml.AirSyncBaseFileReference, ref)
		e.Int(wbxml.AirSyncBaseMethod, method)
		e.Int(wbxml.AirSyncBaseEstimatedDataSize, decodedSize(p))
		if id != "" {
			e.Text(wbxml.AirSyncBaseContentId, id)
		}
		if p.Location != "" {
			e.Text(wbxml.AirSyncBaseContentLocation, p.Location)
		}
		if isInline(p) {
			e.Bool(wbxml.AirSyncBaseIsInline, true)
		}
		e.End()
	}
	e.End()
}

// isInline tells whether a file is shown within the text.
func isInline(p *mail.Part) bool {
	return p.Disposition != "attachment" && (p.ID != "" || p.Disposition == "inline" && p.Type == "image")
}

// fileName is a name that phones can open the file by.
func fileName(p *mail.Part, i int) string {
	name := p.Filename()
	if p.IsMessage() {
		if name == "" && p.Envelope != nil {
			name = strings.Map(func(r rune) rune {
				if strings.ContainsRune(`/\:*?"<>|`, r) {
					return '_'
				}
				return r
			}, cutRunes(p.Envelope.Subject, 100))
		}
		if name == "" {
			name = "message"
		}
		// Android and Windows Phone open no other.
		if !strings.HasSuffix(strings.ToLower(name), ".eml") {
			name += ".eml"
		}
		return name
	}
	if name != "" {
		return name
	}
	name = "attachment" + strconv.Itoa(i+1)
	if ext := extension(p.MediaType()); ext != "" {
		name += ext
	}
	return name
}

// extension gives the usual ending for a type; mime's own list is sorted, not
// by use.
func extension(mediaType string) string {
	switch mediaType {
	case "image/jpeg":
		return ".jpg"
	case "text/plain":
		return ".txt"
	case "text/html":
		return ".html"
	case "text/calendar":
		return ".ics"
	case "message/delivery-status", "message/disposition-notification":
		return ".txt"
	case "application/pkcs7-signature", "application/x-pkcs7-signature":
		return ".p7s"
	case "application/pgp-signature":
		return ".asc"
	}
	if exts, err := mime.ExtensionsByType(mediaType); err == nil && len(exts) > 0 {
		return exts[0]
	}
	return ""
}

// fileReference names a part for later: the item, and the way to the part
// through the children from the root, which itself is 0.
func fileReference(item store.ItemID, root, p *mail.Part) string {
	path, _ := pathTo(root, p)
	if path == "" {
		path = "0"
	}
	return itemID(item) + ":" + path
}

func pathTo(at, p *mail.Part) (string, bool) {
	if at == p {
		return "", true
	}
	for i, c := range at.Children {
		if rest, ok := pathTo(c, p); ok {
			path := strconv.Itoa(i + 1)
			if rest != "" {
				path += "." + rest
			}
			return path, true
		}
	}
	return "", false
}

// parseReference reads a FileReference or AttachmentName.
func parseReference(ref string) (store.ItemID, string, bool) {
	id, path, ok := strings.Cut(ref, ":")
	item, valid := parseItem(id)
	return item, path, ok && valid && len(path) <= 200
}

// partAt follows a path of fileReference; nil when there is no such part.
func partAt(root *mail.Part, path string) *mail.Part {
	if path == "0" {
		return root
	}
	for step := range strings.SplitSeq(path, ".") {
		n, err := strconv.Atoi(step)
		if err != nil || n < 1 || n > len(root.Children) {
			return nil
		}
		root = root.Children[n-1]
	}
	return root
}

// partList collects the parts of a multipart answer.
type partList struct{ parts []part }

// add takes a part and gives its number, the first being 1.
func (l *partList) add(size int64, open func() (io.Reader, error)) int {
	l.parts = append(l.parts, part{size: size, open: open})
	return len(l.parts)
}

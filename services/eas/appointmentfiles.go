package eas

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"
	"strings"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Files of appointments, from 16.0 on (MS-ASCAL 3.1.4.8). They stand in the text,
// as ATTACH in base64; one that is only a link is none to a phone, and stays.

// maxObjectFile is the longest file of an appointment.
const maxObjectFile = 10 << 20

// objectFile is a file in a component.
type objectFile struct {
	prop *ical.Property
	id   string // by its content, which survives other changes
	name string
	kind string
}

func filesOf(c *ical.Component) []objectFile {
	var files []objectFile
	for _, p := range c.All("ATTACH") {
		if !strings.EqualFold(p.ParamText("ENCODING"), "BASE64") {
			continue
		}
		f := objectFile{prop: p, id: fileID(p.Value), kind: p.ParamText("FMTTYPE")}
		for _, param := range []string{"FILENAME", "X-FILENAME", "X-LABEL", "X-ORACLE-FILENAME"} {
			if v := p.ParamText(param); v != "" && f.name == "" {
				f.name = v
			}
		}
		if f.name == "" {
			f.name = "file"
		}
		if !validType(f.kind) {
			f.kind = "application/octet-stream"
		}
		files = append(files, f)
	}
	return files
}

func fileID(base64 string) string {
	sum := sha256.Sum256([]byte(base64))
	return hex.EncodeToString(sum[:12])
}

// objectReference names a file of an object.
func objectReference(item store.ItemID, id string) string { return itemID(item) + ":a" + id }

func parseObjectReference(ref string) (item store.ItemID, id string, ok bool) {
	first, id, found := strings.Cut(ref, ":a")
	item, ok = parseItem(first)
	return item, id, ok && found
}

// writeFiles writes the files of an appointment.
func writeFiles(e *wbxml.Encoder, item store.ItemID, c *ical.Component) {
	files := filesOf(c)
	if len(files) == 0 {
		return
	}
	e.Start(wbxml.AirSyncBaseAttachments)
	for _, f := range files {
		e.Start(wbxml.AirSyncBaseAttachment)
		e.Text(wbxml.AirSyncBaseDisplayName, f.name)
		e.Text(wbxml.AirSyncBaseFileReference, objectReference(item, f.id))
		e.Int(wbxml.AirSyncBaseMethod, methodNormal)
		e.Int(wbxml.AirSyncBaseEstimatedDataSize, int64(base64.StdEncoding.DecodedLen(len(f.prop.Value))))
		e.End()
	}
	e.End()
}

// newFiles are the files that a command brings, with their content as it stands
// in a text.
func newFiles(c *syncCommand) ([]*wbxml.Node, []string, error) {
	var nodes []*wbxml.Node
	var contents []string
	for a := range c.data.Child(wbxml.AirSyncBaseAttachments).All(wbxml.AirSyncBaseAdd) {
		content := a.Child(wbxml.AirSyncBaseContent)
		if content == nil {
			return nil, nil, fault.New(fault.Invalid, "a file without content")
		}
		data := []byte(content.Value())
		if s, ok := content.Sunk.(*spool); ok {
			var err error
			if data, err = io.ReadAll(io.LimitReader(s.reader(), maxObjectFile+1)); err != nil {
				return nil, nil, err
			}
		}
		if len(data) > maxObjectFile {
			return nil, nil, fault.New(fault.TooLarge, "a file is larger than %d bytes", maxObjectFile)
		}
		nodes, contents = append(nodes, a), append(contents, base64.StdEncoding.EncodeToString(data))
	}
	return nodes, contents, nil
}

// files carries what a command says of files into an appointment.
func (r *appointmentReader) files(c *syncCommand, part *ical.Component) error {
	list := c.data.Child(wbxml.AirSyncBaseAttachments)
	if list == nil || r.version < wbxml.V160 {
		return nil
	}
	for d := range list.All(wbxml.AirSyncBaseDelete) {
		_, id, _ := parseObjectReference(d.Get(wbxml.AirSyncBaseFileReference))
		for _, f := range filesOf(part) {
			if f.id == id {
				part.Properties = slices.DeleteFunc(part.Properties, func(p *ical.Property) bool { return p == f.prop })
			}
		}
	}
	nodes, contents, err := newFiles(c)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		// A command that is repeated finds its file.
		if slices.ContainsFunc(filesOf(part), func(f objectFile) bool { return f.prop.Value == contents[i] }) {
			continue
		}
		p := &ical.Property{Name: "ATTACH", Value: contents[i]}
		p.SetParam("ENCODING", "BASE64")
		p.SetParam("VALUE", "BINARY")
		if kind := n.Get(wbxml.AirSyncBaseContentType); validType(kind) {
			p.SetParam("FMTTYPE", kind)
		}
		if name := cutText(strings.TrimSpace(n.Get(wbxml.AirSyncBaseDisplayName)), 255); name != "" {
			p.SetParam("FILENAME", name)
		}
		part.Properties = append(part.Properties, p)
	}
	return nil
}

// bringsFiles tells whether a command's answer has to name new files.
func bringsFiles(c *syncCommand) bool {
	return c.data.Has(wbxml.AirSyncBaseAttachments, wbxml.AirSyncBaseAdd)
}

// writeFileNames tells the references of files that came with a command
// (MS-ASAIRS 2.2.2.8).
func writeFileNames(e *wbxml.Encoder, item store.ItemID, c *syncCommand) {
	nodes, contents, err := newFiles(c)
	if err != nil || len(nodes) == 0 {
		return
	}
	e.Start(wbxml.AirSyncBaseAttachments)
	for i, n := range nodes {
		e.Start(wbxml.AirSyncBaseAttachment)
		e.Text(wbxml.AirSyncBaseClientId, n.Get(wbxml.AirSyncBaseClientId))
		e.Text(wbxml.AirSyncBaseFileReference, objectReference(item, fileID(contents[i])))
		e.End()
	}
	e.End()
}

// objectFile finds a file of an object.
func (s *Server) objectFile(ctx context.Context, r *request, item store.ItemID, id string) (*attachment, error) {
	gone := fault.New(fault.NotFound, "no such file")
	objects, err := s.store.Objects(ctx, r.who, r.box(), []store.ItemID{item})
	if err != nil {
		return nil, err
	}
	if len(objects) == 0 || objects[0] == nil {
		return nil, gone
	}
	_, c, err := openPart(objects[0].Text)
	if err != nil {
		return nil, gone
	}
	for _, f := range filesOf(c) {
		if f.id != id {
			continue
		}
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(f.prop.Value), ""))
		if err != nil {
			return nil, gone
		}
		return &attachment{mediaType: f.kind, contentType: f.kind, data: bytes.NewReader(data)}, nil
	}
	return nil, gone
}

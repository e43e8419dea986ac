package jmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

// blobID names content by what makes it readable: M12 is a message, M12-3_1 its
// part 3.1 decoded, U5 an upload and U5-1 a part of the message that it is.
type blobID struct {
	item    store.ItemID
	upload  int64
	section []int
}

const maxSection = 60 // deeper than any part that is described

func parseBlobID(s string) (id blobID, ok bool) {
	whole, path, isPart := strings.Cut(s, "-")
	if strings.HasPrefix(whole, "U") {
		n, err := strconv.ParseInt(whole[1:], 10, 64)
		if err != nil || n <= 0 || "U"+strconv.FormatInt(n, 10) != whole {
			return id, false
		}
		id.upload = n
	} else if id.item, ok = store.ParseItemID(whole); !ok {
		return id, false
	}
	if !isPart {
		return id, true
	}
	list := strings.Split(path, "_")
	if len(list) > maxSection {
		return id, false
	}
	for _, t := range list {
		n, err := strconv.Atoi(t)
		if err != nil || n < 1 || strconv.Itoa(n) != t {
			return id, false
		}
		id.section = append(id.section, n)
	}
	return id, true
}

func (id blobID) String() string {
	s := id.item.String()
	if id.upload != 0 {
		s = "U" + strconv.FormatInt(id.upload, 10)
	}
	if len(id.section) > 0 {
		s += "-" + sectionText(id.section)
	}
	return s
}

func sectionText(section []int) string {
	var b strings.Builder
	for i, n := range section {
		if i > 0 {
			b.WriteByte('_')
		}
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}

// message is a message that is read: its description and its bytes.
type message struct {
	sum     *mail.Summary
	content io.ReaderAt // the whole, trace headers included; nil until it is opened
	size    int64
	prefix  int64  // bytes of trace headers before what the offsets count from
	blob    blobID // of the whole; the section is that of an embedded message
}

// body is where the offsets of parts count from.
func (m *message) body() io.ReaderAt {
	return io.NewSectionReader(m.content, m.prefix, m.size-m.prefix)
}

// blob is content that can be read.
type blob struct {
	id   blobID
	size int64
	raw  io.ReaderAt // nil when it has to be decoded
	msg  *message    // the message that it is a part of, for a part
	part *mail.Part
}

// reader reads it from an offset on.
func (b *blob) reader(from int64) (io.Reader, error) {
	if b.raw != nil {
		return io.NewSectionReader(b.raw, from, b.size-from), nil
	}
	r := b.part.Decoded(b.msg.body())
	_, err := io.CopyN(io.Discard, r, from)
	return r, err
}

var errNoBlob = fault.New(fault.NotFound, "no such blob")

// blob opens content that the caller may read.
func (d *door) blob(ctx context.Context, box store.MailboxID, s string) (*blob, error) {
	id, ok := parseBlobID(s)
	if !ok {
		return nil, errNoBlob
	}
	var msg *message
	if id.upload != 0 {
		u, content, err := d.store.Upload(ctx, d.who, box, id.upload)
		if err != nil {
			return nil, err
		}
		if id.section == nil {
			return &blob{id: id, size: u.Size, raw: content}, nil
		}
		sum, err := mail.Parse(io.NewSectionReader(content, 0, u.Size))
		if err != nil {
			return nil, err
		}
		msg = &message{sum: sum, content: content, size: u.Size, blob: blobID{upload: id.upload}}
	} else {
		entries, err := d.store.EntriesOf(ctx, d.who, box, []store.ItemID{id.item})
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 || entries[0].Flags&store.Deleted != 0 {
			return nil, errNoBlob
		}
		list, err := d.store.Messages(ctx, d.who, box, []store.ItemID{id.item})
		if err != nil {
			return nil, err
		}
		if list[0] == nil {
			return nil, errNoBlob
		}
		content, err := d.store.Content(ctx, d.who, box, id.item)
		if err != nil {
			return nil, err
		}
		if id.section == nil {
			return &blob{id: id, size: content.Size(), raw: content}, nil
		}
		msg = &message{sum: list[0].Summary, content: content, size: content.Size(), prefix: int64(len(list[0].Prefix)), blob: blobID{item: id.item}}
	}
	part := mail.Find(msg.sum.Root, id.section)
	if part == nil || part.IsMultipart() {
		return nil, errNoBlob
	}
	b := &blob{id: id, msg: msg, part: part}
	var err error
	if b.size, err = decodedSize(part, msg.body()); err != nil {
		return nil, err
	}
	if identity(part.Encoding) {
		b.raw = part.Raw(msg.body())
	}
	return b, nil
}

func identity(encoding string) bool {
	switch encoding {
	case "base64", "quoted-printable", "x-uuencode", "uuencode", "x-uue", "uue":
		return false
	}
	return true
}

// countBytes is how long an encoded part may be to be decoded for its size alone,
// when the arithmetic of base64 does not do.
const countBytes = 64 << 10

// decodedSize is the length of a part after decoding. Long base64 in lines of one
// length is not read: its first line and its end tell.
func decodedSize(p *mail.Part, body io.ReaderAt) (int64, error) {
	if identity(p.Encoding) {
		return p.Size(), nil
	}
	if p.Encoding == "base64" && p.Size() > countBytes {
		if n, ok := base64Size(p, body); ok {
			return n, nil
		}
	}
	return io.Copy(io.Discard, p.Decoded(body))
}

func base64Size(p *mail.Part, body io.ReaderAt) (int64, bool) {
	const look = 256
	head, tail := make([]byte, look), make([]byte, look)
	if _, err := p.Raw(body).ReadAt(head, 0); err != nil {
		return 0, false
	}
	if n, err := p.Raw(body).ReadAt(tail, p.Size()-look); n < look && err != nil {
		return 0, false
	}
	line := int64(bytes.IndexAny(head, "\r\n"))
	if line < 4 || line%4 != 0 {
		return 0, false
	}
	end := int64(1)
	if head[line] == '\r' && head[line+1] == '\n' {
		end = 2
	}
	text := bytes.TrimRight(tail, "\r\n \t")
	pad := int64(len(text) - len(bytes.TrimRight(text, "=")))
	length := p.Size() - int64(look-len(text))
	breaks := (length - 1) / (line + end)
	chars := length - breaks*end
	if pad > 2 || chars%4 != 0 || p.Lines != breaks+1 {
		return 0, false
	}
	return chars/4*3 - pad, true
}

// upload keeps what a client brings (RFC 8620 section 6.1).
func (d *door) upload(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	id := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, Prefix+"upload/"), "/")
	box, ok := d.mailbox(id)
	if !ok {
		return &problem{Type: "about:blank", Status: http.StatusNotFound, Detail: "no such account"}
	}
	done, err := d.begin("maxConcurrentUpload", maxConcurrentUpload)
	if err != nil {
		return err
	}
	defer done()
	if r.ContentLength > maxSizeUpload {
		return limitProblem("maxSizeUpload")
	}
	u, err := d.keep(ctx, box, r.Header.Get("Content-Type"), http.MaxBytesReader(w, r.Body, maxSizeUpload))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return limitProblem("maxSizeUpload")
	}
	if err != nil {
		return err
	}
	data, err := encodeJSON(object{"accountId": id, "blobId": blobID{upload: u.ID}.String(), "type": u.Type, "size": u.Size})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(data)
	return nil
}

// keep makes an upload of what r gives.
func (d *door) keep(ctx context.Context, box store.MailboxID, mediaType string, r io.Reader) (store.Upload, error) {
	if kind, params, err := mime.ParseMediaType(mediaType); err == nil {
		mediaType = mime.FormatMediaType(kind, params)
	}
	if mediaType == "" || len(mediaType) > 255 {
		mediaType = "application/octet-stream"
	}
	bw, err := d.store.NewBlob(ctx, d.who.HomeMDB)
	if err != nil {
		return store.Upload{}, err
	}
	defer bw.Abort()
	if _, err := io.Copy(bw, r); err != nil {
		return store.Upload{}, err
	}
	b, err := bw.Close(ctx)
	if err != nil {
		return store.Upload{}, err
	}
	return d.store.AddUpload(ctx, d.who, box, b, mediaType)
}

// download gives a blob (section 6.2), or the range of it that is asked for (RFC
// 9110 section 14).
func (d *door) download(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	path := strings.SplitN(strings.TrimPrefix(r.URL.EscapedPath(), Prefix+"download/"), "/", 3)
	if len(path) != 3 {
		return &problem{Type: "about:blank", Status: http.StatusNotFound}
	}
	name, err := url.PathUnescape(path[2])
	if err != nil {
		return fault.New(fault.Invalid, "that is no name")
	}
	box, ok := d.mailbox(path[0])
	if !ok {
		return &problem{Type: "about:blank", Status: http.StatusNotFound, Detail: "no such blob"}
	}
	b, err := d.blob(ctx, box, path[1])
	if err != nil {
		return err
	}
	h := w.Header()
	kind, params, err := mime.ParseMediaType(r.URL.Query().Get("type"))
	if err != nil {
		kind, params = "application/octet-stream", nil
	}
	h.Set("Content-Type", mime.FormatMediaType(kind, params))
	// What somebody was sent never runs as a page of ours.
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Content-Disposition", disposition(name))
	h.Set("Cache-Control", "private, immutable, max-age=31536000")
	h.Set("ETag", `"`+b.id.String()+`"`)
	h.Set("Accept-Ranges", "bytes")
	return serveRange(w, r, b)
}

// disposition offers a file by its name (RFC 6266).
func disposition(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, name)
	if s := mime.FormatMediaType("attachment", map[string]string{"filename": name}); s != "" {
		return s
	}
	return "attachment"
}

func serveRange(w http.ResponseWriter, r *http.Request, b *blob) error {
	h := w.Header()
	if match := r.Header.Get("If-None-Match"); match != "" && (match == "*" || strings.Contains(match, h.Get("ETag"))) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	from, n, code := int64(0), b.size, http.StatusOK
	if spec := r.Header.Get("Range"); spec != "" && r.Method == http.MethodGet && (r.Header.Get("If-Range") == "" || r.Header.Get("If-Range") == h.Get("ETag")) {
		first, length, ok := byteRange(spec, b.size)
		switch {
		case ok && length > 0:
			from, n, code = first, length, http.StatusPartialContent
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+n-1, b.size))
		case ok:
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", b.size))
			for _, name := range []string{"Content-Disposition", "Cache-Control", "ETag"} {
				h.Del(name)
			}
			return &problem{Type: "about:blank", Status: http.StatusRequestedRangeNotSatisfiable}
		}
	}
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	w.WriteHeader(code)
	if r.Method == http.MethodHead {
		return nil
	}
	src, err := b.reader(from)
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	for buf := make([]byte, 64<<10); n > 0; {
		k, err := io.ReadFull(src, buf[:min(n, int64(len(buf)))])
		if k == 0 {
			return fmt.Errorf("blob %s: %w", b.id, err)
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := w.Write(buf[:k]); err != nil {
			return fmt.Errorf("%w: %w", context.Canceled, err)
		}
		n -= int64(k)
	}
	return nil
}

// byteRange reads a Range of one piece; ok is false for what may be ignored
// (several pieces, another unit), length 0 for one outside of the content.
func byteRange(spec string, size int64) (first, length int64, ok bool) {
	pieces, ok := strings.CutPrefix(spec, "bytes=")
	if !ok || strings.Contains(pieces, ",") {
		return 0, 0, false
	}
	begin, end, ok := strings.Cut(strings.TrimSpace(pieces), "-")
	if !ok {
		return 0, 0, false
	}
	if begin == "" {
		n, err := strconv.ParseInt(end, 10, 64)
		if err != nil || n < 0 {
			return 0, 0, false
		}
		n = min(n, size)
		return size - n, n, true
	}
	first, err := strconv.ParseInt(begin, 10, 64)
	if err != nil || first < 0 {
		return 0, 0, false
	}
	last := size - 1
	if end != "" {
		n, err := strconv.ParseInt(end, 10, 64)
		if err != nil || n < first {
			return 0, 0, false
		}
		last = min(last, n)
	}
	return first, max(0, last-first+1), true
}

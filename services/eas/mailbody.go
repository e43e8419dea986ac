package eas

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"waypost/internal/mail"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

const (
	// maxHeldText is how much text is held in memory. Longer text is streamed
	// when it can be sent as it is, and cut when it has to be converted.
	maxHeldText = 4 << 20
	// maxCounted is up to which size of a part the rest of a truncated text is
	// read, only to know its exact length.
	maxCounted = 256 << 10
	// maxSignedMIME is up to which size S/MIME messages ignore a truncation,
	// which would break their signature.
	maxSignedMIME = 10 << 20
)

// message is one message while it is written to a phone.
type message struct {
	ctx     context.Context
	mail    itemStore
	who     who
	m       *store.Message
	content store.Content // opened when needed
	plain   *mail.Part
	html    *mail.Part
	more    []*mail.Part
	files   []*mail.Part

	loaded *loadedText   // read ahead
	gate   chan struct{} // to be received from when it is taken over
}

// loadedText is a text that readLimited has read.
type loadedText struct {
	kind  uint8
	limit int64
	data  []byte
	size  int64
	cut   bool
	err   error
}

func newMessage(ctx context.Context, s itemStore, w who, m *store.Message) *message {
	x := &message{ctx: ctx, mail: s, who: w, m: m}
	x.plain, x.html, x.files = m.Summary.Bodies()
	if x.plain != nil || x.html != nil {
		for _, p := range m.Summary.MoreText() {
			if p != x.plain && (p.Subtype == "plain" || p.Subtype == "html") {
				x.more = append(x.more, p)
			}
		}
	}
	return x
}

// open opens the message's bytes, trace headers included.
func (x *message) open() (store.Content, error) {
	if x.content == nil {
		c, err := x.mail.Content(x.ctx, x.who.as, x.who.box, x.m.Item)
		if err != nil {
			return nil, err
		}
		x.content = c
	}
	return x.content, nil
}

// received is the message without the trace headers, which the offsets of its
// summary count from.
func (x *message) received() (io.ReaderAt, error) {
	c, err := x.open()
	if err != nil {
		return nil, err
	}
	n := int64(len(x.m.Prefix))
	return io.NewSectionReader(c, n, c.Size()-n), nil
}

// native is the best type that the message has (MS-ASAIRS 2.2.2.32).
func (x *message) native() uint8 {
	if x.html != nil {
		return bodyHTML
	}
	return bodyPlain
}

// decodedSize estimates a part's length without its transfer encoding.
func decodedSize(p *mail.Part) int64 {
	n := p.Size()
	if p.Encoding != "base64" {
		return n
	}
	return (n - 2*max(p.Lines-1, 0)) * 3 / 4 // its line ends are not of the content
}

// segments gives the parts that make up the body of a type, in order.
func (x *message) segments(kind uint8) []*mail.Part {
	first := x.plain
	if kind == bodyHTML && x.html != nil || first == nil {
		first = x.html
	}
	if first == nil {
		return nil
	}
	return append([]*mail.Part{first}, x.more...)
}

// estimate guesses the length of the body as a type, without reading it.
func (x *message) estimate(kind uint8) int64 {
	if kind == bodyMIME {
		return x.m.Size
	}
	n := int64(0)
	for _, p := range x.segments(kind) {
		size := decodedSize(p)
		if p.Subtype == "html" && kind == bodyPlain {
			size /= 4 // most of it is mark-up
		}
		n += size
	}
	return n
}

// text reads the body as plain text or HTML.
func (x *message) text(kind uint8) (io.Reader, error) {
	parts := x.segments(kind)
	if len(parts) == 0 {
		return strings.NewReader(""), nil
	}
	c, err := x.received()
	if err != nil {
		return nil, err
	}
	var readers []io.Reader
	for i, p := range parts {
		if i > 0 {
			sep := "\r\n"
			if kind == bodyHTML {
				sep = "<br>\r\n"
			}
			readers = append(readers, strings.NewReader(sep))
		}
		switch {
		case kind == bodyHTML && p.Subtype != "html":
			readers = append(readers, &lazyText{make: func() string { return mail.TextToHTML(readText(p, c, maxHeldText)) }})
		case kind == bodyPlain && p.Subtype == "html":
			readers = append(readers, &lazyText{make: func() string { return crlf(mail.HTMLToText(p.Text(c), maxHeldText)) }})
		default:
			readers = append(readers, p.Text(c))
		}
	}
	return io.MultiReader(readers...), nil
}

// lazyText is a text that is made when it is first read.
type lazyText struct {
	make func() string
	r    *strings.Reader
}

func (l *lazyText) Read(p []byte) (int, error) {
	if l.r == nil {
		l.r = strings.NewReader(l.make())
	}
	return l.r.Read(p)
}

func readText(p *mail.Part, c io.ReaderAt, limit int64) string {
	b, _ := io.ReadAll(io.LimitReader(p.Text(c), limit))
	return string(trimRune(b))
}

// crlf gives the text with the line ends of mail.
func crlf(s string) string {
	if !strings.Contains(s, "\n") {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

// trimRune drops a character that was cut off at the end.
func trimRune(b []byte) []byte {
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}

// bodyChoice is what is sent of a message's body.
type bodyChoice struct {
	kind    uint8
	limit   int64 // bytes; -1: all
	preview uint8
	nothing bool // AllOrNone, and it does not fit
}

// choose picks the body that the phone gets (MS-ASAIRS 2.2.2.12, MS-ASCMD
// 2.2.3.110). whole sends all of it, as a Fetch does.
func (x *message) choose(o *options, whole bool) bodyChoice {
	c := x.prefer(o)
	if whole {
		c.limit, c.nothing = -1, false
	}
	if c.kind == bodyMIME && x.m.Summary.Has(mail.SMIME) && x.m.Size <= maxSignedMIME && c.limit != 0 {
		c.limit, c.nothing = -1, false
	}
	return c
}

func (x *message) prefer(o *options) bodyChoice {
	if len(o.bodies) == 0 {
		return bodyChoice{kind: bodyPlain, limit: -1}
	}
	var order []bodyPref
	find := func(kind uint8) {
		for _, p := range o.bodies {
			if p.kind == kind {
				order = append(order, p)
			}
		}
	}
	mimeOK := o.mime == 2 || o.mime == 1 && x.m.Summary.Has(mail.SMIME) || o.mime == mimeUnsaid && len(o.bodies) == 1
	if mimeOK {
		find(bodyMIME)
	}
	if len(order) == 0 {
		find(x.native())
		for _, kind := range [...]uint8{bodyHTML, bodyPlain} {
			if kind != x.native() {
				find(kind)
			}
		}
	}
	if len(order) == 0 { // RTF alone, or MIME that it may not have
		p := o.bodies[0]
		return bodyChoice{kind: x.native(), limit: p.size, preview: p.preview}
	}
	for _, p := range order {
		if !p.allOrNone || p.size < 0 || x.estimate(p.kind) <= p.size {
			return bodyChoice{kind: p.kind, limit: p.size, preview: p.preview}
		}
	}
	p := order[0]
	return bodyChoice{kind: p.kind, limit: 0, preview: p.preview, nothing: true}
}

// estimateBody guesses the bytes of a message's body in an answer.
func estimateBody(m *store.Message, o *options, v wbxml.Version) int64 {
	x := newMessage(context.Background(), nil, who{}, m) // opens nothing
	if v < wbxml.V120 {
		if x.wantsMIMEData(o) {
			return cap64(m.Size, mimeLimit(o.mimeTruncation))
		}
		return cap64(x.estimate(bodyPlain), textLimit(o.truncation))
	}
	c := x.choose(o, false)
	return cap64(x.estimate(c.kind), c.limit)
}

func cap64(n, limit int64) int64 {
	if limit >= 0 {
		return min(n, limit)
	}
	return n
}

// wantsMIMEData tells whether 2.5 gets the message itself.
func (x *message) wantsMIMEData(o *options) bool {
	return o.mime == 2 || o.mime == 1 && x.m.Summary.Has(mail.SMIME)
}

// writeBody writes AirSyncBase:Body and NativeBodyType (12.0 and later).
func (x *message) writeBody(e *wbxml.Encoder, v wbxml.Version, o *options, whole bool, parts *partList) error {
	c := x.choose(o, whole)
	e.Start(wbxml.AirSyncBaseBody)
	e.Int(wbxml.AirSyncBaseType, int64(c.kind))
	var err error
	switch {
	case c.nothing || c.limit == 0:
		size := x.estimate(c.kind)
		e.Int(wbxml.AirSyncBaseEstimatedDataSize, size)
		if size > 0 {
			e.Text(wbxml.AirSyncBaseTruncated, "1")
		}
	case c.kind == bodyMIME:
		err = x.writeMIME(e, c.limit, parts)
	default:
		err = x.writeText(e, c, parts)
	}
	if c.preview > 0 && v >= wbxml.V140 && (c.kind != bodyPlain || c.limit == 0) {
		e.Text(wbxml.AirSyncBasePreview, cutRunes(x.m.Summary.Preview, int(c.preview)))
	}
	e.End()
	e.Int(wbxml.AirSyncBaseNativeBodyType, int64(x.native()))
	return err
}

func cutRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// writeText writes size, truncation and data of a text.
func (x *message) writeText(e *wbxml.Encoder, c bodyChoice, parts *partList) error {
	if x.streams(c) && parts == nil {
		r, err := x.text(c.kind)
		if err != nil {
			return err
		}
		e.Int(wbxml.AirSyncBaseEstimatedDataSize, x.estimate(c.kind))
		e.TextFrom(wbxml.AirSyncBaseData, r)
		return e.Err()
	}
	l := x.load(c.kind, c.limit)
	if l.err != nil {
		return l.err
	}
	data := l.data
	e.Int(wbxml.AirSyncBaseEstimatedDataSize, l.size)
	if l.cut {
		e.Text(wbxml.AirSyncBaseTruncated, "1")
	}
	if parts != nil {
		e.Int(wbxml.ItemOperationsPart, int64(parts.add(int64(len(data)), func() (io.Reader, error) { return bytes.NewReader(data), nil })))
		return nil
	}
	e.Text(wbxml.AirSyncBaseData, string(data))
	return nil
}

// load reads the body as a text of at most limit bytes.
func (x *message) load(kind uint8, limit int64) *loadedText {
	if l := x.loaded; l != nil && l.kind == kind && l.limit == limit {
		return l
	}
	l := &loadedText{kind: kind, limit: limit}
	var r io.Reader
	if r, l.err = x.text(kind); l.err == nil {
		l.data, l.size, l.cut, l.err = readLimited(r, limit, x.estimate(kind))
	}
	return l
}

// preload reads what writing the message for w will need.
func (x *message) preload(w *itemWriter) {
	if w.version < wbxml.V120 {
		if !x.wantsMIMEData(w.opts) {
			x.loaded = x.load(bodyPlain, w.textLimit())
		}
		return
	}
	c := x.choose(w.opts, w.whole)
	if c.kind != bodyMIME && c.limit != 0 && !c.nothing && !x.streams(c) {
		x.loaded = x.load(c.kind, c.limit)
	}
}

// streams tells whether a text is too long to be held and is sent as it is read.
func (x *message) streams(c bodyChoice) bool { return c.limit < 0 && x.estimate(c.kind) > maxHeldText }

// textLimit is the most bytes of text that 2.5 gets.
func (w *itemWriter) textLimit() int64 {
	if w.whole {
		return -1
	}
	return textLimit(w.opts.truncation)
}

// readLimited reads at most limit bytes of a text, at a character's end, and
// tells its whole length: exactly if it is not long, else as guessed.
func readLimited(r io.Reader, limit, guess int64) (data []byte, size int64, cut bool, err error) {
	if limit < 0 || limit > maxHeldText {
		limit = maxHeldText
	}
	var buf bytes.Buffer
	buf.Grow(int(min(limit, guess)) + 512)
	n, err := io.Copy(&buf, io.LimitReader(r, limit+1))
	if err != nil {
		return nil, 0, false, fmt.Errorf("read body: %w", err)
	}
	if n <= limit {
		return buf.Bytes(), n, false, nil
	}
	data = trimRune(buf.Bytes()[:limit])
	size = n
	if guess <= maxCounted {
		rest, err := io.Copy(io.Discard, r)
		if err != nil {
			return nil, 0, false, fmt.Errorf("read body: %w", err)
		}
		size += rest
	}
	return data, max(size, guess, limit+1), true, nil
}

// writeMIME writes size, truncation and data of the message itself.
func (x *message) writeMIME(e *wbxml.Encoder, limit int64, parts *partList) error {
	c, err := x.open()
	if err != nil {
		return err
	}
	n := cap64(c.Size(), limit)
	e.Int(wbxml.AirSyncBaseEstimatedDataSize, c.Size())
	if n < c.Size() {
		e.Text(wbxml.AirSyncBaseTruncated, "1")
	}
	if parts != nil {
		e.Int(wbxml.ItemOperationsPart, int64(parts.add(n, func() (io.Reader, error) { return io.NewSectionReader(c, 0, n), nil })))
		return nil
	}
	return writeRaw(e, wbxml.AirSyncBaseData, c, n)
}

// writeRaw writes the first n bytes of a message: as a string, which all
// phones read, and as opaque bytes where a string could not carry them.
func writeRaw(e *wbxml.Encoder, tag wbxml.Tag, c store.Content, n int64) error {
	clean, whole, err := textual(io.NewSectionReader(c, 0, n))
	switch {
	case err != nil:
		return err
	case clean:
		e.TextFrom(tag, io.NewSectionReader(c, 0, whole))
	default:
		e.Opaque(tag, n, io.NewSectionReader(c, 0, n))
	}
	return e.Err()
}

// textual tells whether bytes are text that WBXML carries unchanged, and their
// length without a character cut off at the end.
func textual(r io.Reader) (bool, int64, error) {
	buf := make([]byte, 32<<10)
	rest, total := 0, int64(0)
	for {
		n, err := r.Read(buf[rest:])
		b := buf[:rest+n]
		for len(b) > 0 {
			if c := b[0]; c < utf8.RuneSelf {
				if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
					return false, 0, nil
				}
				b = b[1:]
				total++
				continue
			}
			if !utf8.FullRune(b) {
				break
			}
			c, size := utf8.DecodeRune(b)
			if c == utf8.RuneError && size == 1 || c == 0xFFFE || c == 0xFFFF {
				return false, 0, nil
			}
			b = b[size:]
			total += int64(size)
		}
		rest = copy(buf, b)
		if err == io.EOF {
			return true, total, nil
		}
		if err != nil {
			return false, 0, fmt.Errorf("read message: %w", err)
		}
	}
}

// writeOldBody writes the body for 2.5: the text, or the message (MS-ASEMAIL's
// elements of that version).
func (x *message) writeOldBody(e *wbxml.Encoder, w *itemWriter) error {
	o, whole := w.opts, w.whole
	if x.wantsMIMEData(o) {
		limit := mimeLimit(o.mimeTruncation)
		if whole || x.m.Summary.Has(mail.SMIME) && x.m.Size <= maxSignedMIME && limit != 0 {
			limit = -1
		}
		c, err := x.open()
		if err != nil {
			return err
		}
		n := cap64(c.Size(), limit)
		e.Bool(wbxml.EmailMIMETruncated, n < c.Size())
		e.Int(wbxml.EmailMIMESize, c.Size())
		return writeRaw(e, wbxml.EmailMIMEData, c, n)
	}
	l := x.load(bodyPlain, w.textLimit())
	if l.err != nil {
		return l.err
	}
	e.Int(wbxml.EmailBodySize, l.size)
	e.Bool(wbxml.EmailBodyTruncated, l.cut)
	e.Text(wbxml.EmailBody, string(l.data))
	return nil
}

// quoteMarks begin the part of a message that quotes an older one.
var quoteMarks = [][]byte{
	[]byte("<blockquote"), []byte(`<div id="divRplyFwdMsg"`), []byte(`<div class="gmail_quote`),
	[]byte(`<div style="border:none;border-top:solid #`), []byte("-----Original Message-----"),
}

// writeBodyPart writes what is new in the message, without what it quotes
// (14.1 and later, MS-ASAIRS 2.2.2.10).
func (x *message) writeBodyPart(e *wbxml.Encoder, o *options) error {
	for _, p := range o.parts {
		if p.kind != bodyHTML { // MS-ASAIRS 2.2.2.11: nothing else
			continue
		}
		l := x.load(bodyHTML, -1)
		if l.err != nil {
			return l.err
		}
		data := l.data
		for _, mark := range quoteMarks {
			if i := bytes.Index(data, mark); i > 0 {
				data = data[:i]
			}
		}
		size := int64(len(data))
		cut := p.size >= 0 && size > p.size
		if cut {
			data = trimRune(data[:p.size])
			if p.allOrNone {
				data = nil
			}
		}
		e.Start(wbxml.AirSyncBaseBodyPart)
		e.Int(wbxml.AirSyncBaseStatus, 1)
		e.Int(wbxml.AirSyncBaseType, bodyHTML)
		e.Int(wbxml.AirSyncBaseEstimatedDataSize, size)
		if cut {
			e.Text(wbxml.AirSyncBaseTruncated, "1")
		}
		if data != nil {
			e.Text(wbxml.AirSyncBaseData, string(data))
		}
		if p.preview > 0 {
			e.Text(wbxml.AirSyncBasePreview, cutRunes(x.m.Summary.Preview, int(p.preview)))
		}
		e.End()
	}
	return e.Err()
}

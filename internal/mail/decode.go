package mail

import (
	"bytes"
	"io"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/transform"
)

// Raw reads the body of p as it is stored. c is the message as received.
func (p *Part) Raw(c io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(c, p.BodyStart, p.Size())
}

// Header reads the header block of p, with the empty line after it.
func (p *Part) Header(c io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(c, p.HeaderStart, p.BodyStart-p.HeaderStart)
}

// Decoded reads the body of p without its transfer encoding (RFC 2045 section
// 6, and uuencode). Broken encodings yield as many bytes as can be made out;
// errors are c's only. An unknown encoding is passed through.
func (p *Part) Decoded(c io.ReaderAt) io.Reader {
	return decodeTransfer(p.Raw(c), p.Encoding, p.Size())
}

func decodeTransfer(r io.Reader, encoding string, size int64) io.Reader {
	var d decoder
	switch encoding {
	case "base64":
		d = &base64Decoder{}
	case "quoted-printable":
		d = &qpDecoder{}
	case "x-uuencode", "uuencode", "x-uue", "uue":
		d = &uuDecoder{}
	default:
		return r
	}
	n := min(max(size+1, 64), 32<<10)
	return &decodeReader{r: r, d: d, in: make([]byte, 0, n)}
}

// decoder takes bytes off in and appends what they mean to out. Unless atEOF it
// may leave a rest, shorter than keepLine, for when more is there.
type decoder interface {
	decode(out, in []byte, atEOF bool) (o []byte, n int)
}

// decodeReader runs a decoder over a stream.
type decodeReader struct {
	r    io.Reader
	d    decoder
	in   []byte
	out  []byte
	left []byte // of out
	err  error
}

func (d *decodeReader) Read(b []byte) (int, error) {
	for len(d.left) == 0 {
		if d.err != nil && len(d.in) == 0 {
			return 0, d.err
		}
		if d.err == nil {
			if len(d.in) == cap(d.in) {
				d.in = append(d.in, make([]byte, keepLine)...)[:len(d.in)]
			}
			var n int
			n, d.err = d.r.Read(d.in[len(d.in):cap(d.in)])
			d.in = d.in[:len(d.in)+n]
		}
		var n int
		d.out, n = d.d.decode(d.out[:0], d.in, d.err != nil)
		d.left = d.out
		if d.err != nil && n == 0 {
			d.in = d.in[:0]
		}
		d.in = d.in[:copy(d.in, d.in[n:])]
	}
	n := copy(b, d.left)
	d.left = d.left[n:]
	return n, nil
}

// base64Value maps the characters of base64 to their values, others to 64.
var base64Value = func() (t [256]byte) {
	for i := range t {
		t[i] = 64
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(i)
	}
	return
}()

// base64Decoder skips what is not of the alphabet, and stops at the padding,
// after which there are at most footers of mailing lists.
type base64Decoder struct {
	bits    uint32
	n       int
	end     bool
	begun   bool
	literal bool // this is no base64 at all
}

// notBase64 says whether the beginning of a body can be no base64, because of
// many characters of other kinds. Such text was sent without being encoded.
func notBase64(in []byte) bool {
	in = in[:min(len(in), 512)]
	good, bad := 0, 0
	for _, c := range in {
		switch {
		case base64Value[c] < 64 || c == '=':
			good++
		case c != '\r' && c != '\n':
			bad++
		}
	}
	return bad > 4 && bad*20 > good
}

func (d *base64Decoder) decode(out, in []byte, atEOF bool) ([]byte, int) {
	if !d.begun {
		if len(in) < 512 && !atEOF {
			return out, 0
		}
		d.begun = true
		d.literal = notBase64(in)
	}
	switch {
	case d.literal:
		return append(out, in...), len(in)
	case d.end:
		return out, len(in)
	}
	i := 0
	for i < len(in) {
		if d.n == 0 { // whole groups at once
			for i+4 <= len(in) {
				a, b, c, e := base64Value[in[i]], base64Value[in[i+1]], base64Value[in[i+2]], base64Value[in[i+3]]
				if (a|b|c|e)&64 != 0 {
					break
				}
				out = append(out, a<<2|b>>4, b<<4|c>>2, c<<6|e)
				i += 4
			}
			if i == len(in) {
				break
			}
		}
		c := in[i]
		i++
		if v := base64Value[c]; v < 64 {
			d.bits = d.bits<<6 | uint32(v)
			if d.n++; d.n == 4 {
				out = append(out, byte(d.bits>>16), byte(d.bits>>8), byte(d.bits))
				d.bits, d.n = 0, 0
			}
		} else if c == '=' && d.n >= 2 {
			d.end = true
			return d.flush(out), len(in)
		}
	}
	if atEOF {
		out = d.flush(out)
	}
	return out, len(in)
}

func (d *base64Decoder) flush(out []byte) []byte {
	switch d.n {
	case 2:
		out = append(out, byte(d.bits>>4))
	case 3:
		out = append(out, byte(d.bits>>10), byte(d.bits>>2))
	}
	d.bits, d.n = 0, 0
	return out
}

// qpDecoder reads quoted-printable (RFC 2045 section 6.7): white space before a
// line end is dropped, and a "=" that begins nothing is taken literally.
type qpDecoder struct{}

func (qpDecoder) decode(out, in []byte, atEOF bool) ([]byte, int) {
	i := 0
	for i < len(in) {
		j := bytes.IndexAny(in[i:], "= \t")
		if j < 0 {
			return append(out, in[i:]...), len(in)
		}
		out = append(out, in[i:i+j]...)
		i += j
		if in[i] == '=' {
			if i+2 < len(in) {
				h, ok1 := hexDigit(in[i+1])
				l, ok2 := hexDigit(in[i+2])
				if ok1 && ok2 {
					out = append(out, h<<4|l)
					i += 3
					continue
				}
			} else if !atEOF {
				return out, i
			}
		}
		// White space up to a line end, perhaps after "=".
		j = i + 1
		for j < len(in) && (in[j] == ' ' || in[j] == '\t') && j-i < keepLine/2 {
			j++
		}
		if j == len(in) && !atEOF {
			return out, i
		}
		ended := j == len(in) || in[j] == '\r' || in[j] == '\n'
		switch {
		case ended && in[i] == '=':
			if j+1 >= len(in) && !atEOF {
				return out, i
			}
			if j < len(in) {
				j++
				if in[j-1] == '\r' && j < len(in) && in[j] == '\n' {
					j++
				}
			}
			i = j
		case ended:
			i = j
		case in[i] == '=':
			out = append(out, '=')
			i++
		default:
			out = append(out, in[i:j]...)
			i = j
		}
	}
	return out, len(in)
}

// uuDecoder reads the first file of a uuencoded body.
type uuDecoder struct {
	begun, ended bool
}

func (d *uuDecoder) decode(out, in []byte, atEOF bool) ([]byte, int) {
	i := 0
	for i < len(in) && !d.ended {
		j := bytes.IndexByte(in[i:], '\n')
		next := i + j + 1
		if j < 0 {
			if !atEOF && len(in)-i < keepLine {
				return out, i
			}
			j, next = len(in)-i, len(in)
		}
		l := bytes.TrimRight(in[i:i+j], "\r")
		i = next
		switch {
		case !d.begun:
			d.begun = bytes.HasPrefix(l, []byte("begin "))
		case len(l) == 0:
		case string(l) == "end":
			d.ended = true
		default:
			out = uuLine(out, l)
		}
	}
	return out, len(in)
}

func uuLine(out, l []byte) []byte {
	n := int(l[0]-' ') & 63
	l = l[1:]
	at := func(i int) byte {
		if i < len(l) {
			return (l[i] - ' ') & 63
		}
		return 0
	}
	for i := 0; n > 0; i += 4 {
		a, b, c, d := at(i), at(i+1), at(i+2), at(i+3)
		g := [3]byte{a<<2 | b>>4, b<<4 | c>>2, c<<6 | d}
		k := min(n, 3)
		out = append(out, g[:k]...)
		n -= k
	}
	return out
}

// Text reads the body of p as text: transfer encoding and charset removed,
// valid UTF-8 without NUL and the control characters that XML forbids, line
// ends as they are. It never fails on account of the bytes: an unknown charset
// is guessed at, and 8-bit text without one is UTF-8 when it is valid as that,
// else windows-1252.
func (p *Part) Text(c io.ReaderAt) io.Reader {
	return decodeText(p.Decoded(c), p.Params["charset"], p.Subtype == "html", p.Size())
}

func decodeText(r io.Reader, name string, isHTML bool, size int64) io.Reader {
	const look = 16 << 10
	t := &textReader{r: r, name: name, isHTML: isHTML, look: int(min(size+1, look))}
	return t
}

// textReader puts off the choice of charset until the first Read.
type textReader struct {
	r      io.Reader
	name   string
	isHTML bool
	look   int
	text   io.Reader
}

func (t *textReader) Read(b []byte) (int, error) {
	if t.text == nil {
		head := make([]byte, t.look)
		n, err := io.ReadFull(t.r, head)
		head = head[:n]
		known := head
		if err == nil {
			known = cutRune(head) // there may be more
		}
		if err == nil || err == io.ErrUnexpectedEOF || err == io.EOF {
			err = nil
		}
		rest := t.r
		if err != nil {
			rest = failing{err}
		}
		src := io.MultiReader(bytes.NewReader(head), rest)
		var f transform.Transformer = cleaner{}
		if enc := chooseCharset(t.name, known, t.isHTML); enc != nil {
			f = transform.Chain(enc.NewDecoder(), cleaner{})
		}
		t.text = transform.NewReader(src, f)
	}
	return t.text.Read(b)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// chooseCharset finds the charset of text that begins with head, nil meaning UTF-8.
func chooseCharset(name string, head []byte, isHTML bool) encoding.Encoding {
	enc, isUTF8 := lookupCharset(name)
	switch {
	case enc != nil:
		return enc
	case !isUTF8:
		return sniff(head, isHTML)
	case !utf8.Valid(head) && !plausibleUTF8(head):
		return charmap.Windows1252
	}
	return nil
}

// sniff chooses the charset of text that declares none, nil meaning UTF-8.
func sniff(head []byte, isHTML bool) encoding.Encoding {
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return aliases["utf-16"]
	case bytes.Contains(head, []byte("\x1b$")):
		return japanese.ISO2022JP
	case utf8.Valid(head):
		return nil
	case isHTML:
		if _, name, sure := charset.DetermineEncoding(head, "text/html"); sure || name != "windows-1252" {
			if enc, isUTF8 := lookupCharset(name); enc != nil && !isUTF8 {
				return enc
			}
		}
	}
	if plausibleUTF8(head) {
		return nil
	}
	return guessLegacy(head)
}

// cutRune removes an unfinished rune from the end of b.
func cutRune(b []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return b[:len(b)-n]
			}
			break
		}
	}
	return b
}

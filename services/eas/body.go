package eas

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

// decoder reads the request's document, within the command's limit. It is nil
// when the body is empty, which is an error unless the command allows it.
func (r *request) decoder() (*wbxml.Decoder, error) {
	if enc := r.http.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, httpError{http.StatusUnsupportedMediaType}
	}
	size := r.bodyLimit()
	if r.http.ContentLength > size {
		return nil, fault.New(fault.TooLarge, "the request is larger than %d bytes", size)
	}
	// A body may come in chunks without a length: only reading tells if it is empty.
	in := bufio.NewReaderSize(r.http.Body, 16)
	if _, err := in.Peek(1); errors.Is(err, io.EOF) {
		if r.command.body == bodyOrEmpty {
			return nil, nil
		}
		return nil, status(StatusInvalidContent)
	}
	return wbxml.NewDecoder(in, wbxml.Limits{Size: size}), nil
}

func (r *request) bodyLimit() int64 {
	if r.command.limit == 0 {
		return smallBody
	}
	return r.command.limit
}

// tree reads the request's document whole; nil when the body is empty. The root
// must be the command's own. Large opaque values go to the sink.
func (r *request) tree(sink wbxml.Sink) (*wbxml.Node, error) {
	d, err := r.decoder()
	if d == nil {
		return nil, err
	}
	n := d.Tree(sink)
	if err := d.Err(); err != nil {
		return nil, err
	}
	if n.Tag != r.command.root {
		return nil, statusFor(StatusInvalidXML, fault.New(fault.Invalid, "root %v, want %v", n.Tag, r.command.root))
	}
	return n, nil
}

// mime is the body of a request that carries a message itself (before 14.0),
// within the command's limit: reading more is a fault of kind TooLarge.
func (r *request) mime() (io.Reader, error) {
	size := r.bodyLimit()
	if r.http.ContentLength > size {
		return nil, fault.New(fault.TooLarge, "the message is larger than %d bytes", size)
	}
	return &limited{r: r.http.Body, left: size}, nil
}

type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, fault.New(fault.TooLarge, "the message is too large")
	}
	p = p[:min(int64(len(p)), l.left+1)]
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, fault.New(fault.TooLarge, "the message is too large")
	}
	return n, err
}

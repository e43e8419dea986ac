package postgres

import (
	"encoding/json"
	"errors"
	"strings"
)

// jsonReader reads the attributes column: an object of lists of strings, as
// PostgreSQL writes jsonb. encoding/json would take most of the time in which a
// process starts.
type jsonReader struct {
	s string
	i int
}

var errJSON = errors.New("not an object of lists of strings")

func (p *jsonReader) space() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\n' || p.s[p.i] == '\t' || p.s[p.i] == '\r') {
		p.i++
	}
}

// take reads one character of the grammar.
func (p *jsonReader) take(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// object calls fn with each name and its values, which are fn's to keep.
func (p *jsonReader) object(fn func(name string, values []string)) error {
	if !p.take('{') {
		return errJSON
	}
	if p.take('}') {
		return nil
	}
	for {
		name, err := p.text()
		if err != nil || !p.take(':') || !p.take('[') {
			return errJSON
		}
		var values []string
		for !p.take(']') {
			if len(values) > 0 && !p.take(',') {
				return errJSON
			}
			v, err := p.text()
			if err != nil {
				return err
			}
			if values == nil {
				values = make([]string, 0, 1)
			}
			values = append(values, v)
		}
		fn(name, values)
		if p.take('}') {
			return nil
		}
		if !p.take(',') {
			return errJSON
		}
	}
}

// text reads a string; without escapes it is a part of the whole.
func (p *jsonReader) text() (string, error) {
	if !p.take('"') {
		return "", errJSON
	}
	end := strings.IndexByte(p.s[p.i:], '"')
	if end < 0 {
		return "", errJSON
	}
	if strings.IndexByte(p.s[p.i:p.i+end], '\\') < 0 {
		v := p.s[p.i : p.i+end]
		p.i += end + 1
		return v, nil
	}
	start := p.i - 1
	for p.i < len(p.s) && p.s[p.i] != '"' {
		if p.s[p.i] == '\\' {
			p.i++
		}
		p.i++
	}
	if p.i >= len(p.s) {
		return "", errJSON
	}
	p.i++
	var v string
	err := json.Unmarshal([]byte(p.s[start:p.i]), &v)
	return v, err
}

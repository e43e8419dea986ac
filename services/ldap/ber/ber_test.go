package ber

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	asn1 "github.com/go-asn1-ber/asn1-ber"
)

func TestFrame(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int
		err  error
	}{
		{"", 0, nil},
		{"30", 0, nil},
		{"3005", 7, nil},
		{"3081", 0, nil},
		{"308180", 131, nil},
		{"30840000000a", 16, nil}, // as Active Directory writes them
		{"3080", 0, ErrLength},    // indefinite
		{"3089000000000000000001", 0, ErrLength},
		{"30887fffffffffffffff", 0, ErrLength},
		{"3084ffffffff", 0, ErrLength},
		{"16030100", 0, ErrTag}, // a TLS client at the wrong door
		{"474554", 0, ErrTag},   // a browser
	} {
		b, _ := hex.DecodeString(tt.in)
		if got, err := Frame(b, Sequence); got != tt.want || err != tt.err {
			t.Errorf("Frame(%s) = %d, %v, want %d, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestIntegersAreThoseOfTheLibrary(t *testing.T) {
	for _, n := range []int64{0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, 1 << 31, math.MaxInt64, math.MinInt64} {
		var e Encoder
		e.Int(Integer, n)
		if want := asn1.NewInteger(asn1.ClassUniversal, asn1.TypePrimitive, asn1.TagInteger, n, "").Bytes(); string(e.Buf) != string(want) {
			t.Errorf("Int(%d) = %x, want %x", n, e.Buf, want)
		}
		d := NewDecoder(string(e.Buf))
		if got := d.Int(); got != n || d.End() != nil {
			t.Errorf("%d is read as %d, %v", n, got, d.Err())
		}
	}
}

func TestNested(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 24} {
		text := strings.Repeat("x", n)
		var e Encoder
		outer := e.Begin(Sequence)
		inner := e.Begin(ContextOf(3))
		e.Octets(text)
		e.Bool(Boolean, true)
		e.End(inner)
		e.Int(Enumerated, 5)
		e.End(outer)

		if p, err := asn1.DecodePacketErr(e.Buf); err != nil || len(p.Children) != 2 || string(p.Children[0].Children[0].ByteValue) != text {
			t.Fatalf("the library does not read %d bytes: %v", n, err)
		}
		if size, err := Frame(e.Buf, Sequence); size != len(e.Buf) || err != nil {
			t.Errorf("Frame = %d, %v, want %d", size, err, len(e.Buf))
		}
		d := NewDecoder(string(e.Buf))
		s := d.Inside(Sequence)
		in := s.Inside(ContextOf(3))
		got, yes := in.Octets(), in.Bool()
		s.Close(&in)
		enum := s.Enum()
		d.Close(&s)
		if got != text || !yes || enum != 5 || d.End() != nil {
			t.Errorf("%d bytes: %d, %v, %d, %v", n, len(got), yes, enum, d.Err())
		}
	}
}

func TestBadElements(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		read     func(d *Decoder)
		err      error
	}{
		{"longer than what holds it", "040561", func(d *Decoder) { d.Octets() }, ErrTruncated},
		{"no length", "04", func(d *Decoder) { d.Octets() }, ErrTruncated},
		{"nothing", "", func(d *Decoder) { d.Octets() }, ErrTag},
		{"another tag", "020101", func(d *Decoder) { d.Octets() }, ErrTag},
		{"constructed string", "2403040161", func(d *Decoder) { d.Octets() }, ErrTag},
		{"empty integer", "0200", func(d *Decoder) { d.Int() }, ErrInteger},
		{"long integer", "0209000000000000000001", func(d *Decoder) { d.Int() }, ErrInteger},
		{"long boolean", "01020101", func(d *Decoder) { d.Bool() }, ErrBoolean},
		{"trailing", "04016100", func(d *Decoder) { d.Octets() }, ErrTrailing},
		{"long tag", "1f8101", func(d *Decoder) { d.Any() }, ErrTag},
	} {
		b, _ := hex.DecodeString(tt.in)
		d := NewDecoder(string(b))
		tt.read(&d)
		if err := d.End(); err != tt.err {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
	}
}

func TestTheFirstErrorStays(t *testing.T) {
	d := NewDecoder("\x02\x01\x05\x04\x01a")
	in := d.Inside(Sequence)
	if in.Octets() != "" || d.Octets() != "" || d.Int() != 0 || d.Bool() || d.More() {
		t.Error("a broken decoder gives values")
	}
	if d.Err() != ErrTag || in.Err() != ErrTag {
		t.Errorf("got %v and %v", d.Err(), in.Err())
	}
}

func FuzzDecoder(f *testing.F) {
	for _, s := range []string{"300c0201016007020103040080000000", "30050201014200", "3084000000050201014200", "a0030101ff", "3080", "0289ffffffffffffffffff"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		size, err := Frame(b, Sequence)
		if err == nil && size != 0 && (size < 2 || size > 1<<30+16) {
			t.Fatalf("Frame = %d", size)
		}
		walk(t, string(b), 0)
	})
}

// walk reads everything as elements and writes it again.
func walk(t *testing.T, s string, depth int) {
	d := NewDecoder(s)
	for d.More() {
		tag, v := d.Any()
		if d.Err() != nil {
			return
		}
		if len(v) > len(s) {
			t.Fatal("a value longer than its message")
		}
		var e Encoder
		m := e.Begin(tag)
		e.Raw(v)
		e.End(m)
		again := NewDecoder(string(e.Buf))
		if tag2, v2 := again.Any(); tag2 != tag || v2 != v || again.End() != nil {
			t.Fatalf("%x is written as %x", v, e.Buf)
		}
		if tag&Constructed != 0 && depth < 20 {
			walk(t, v, depth+1)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	var e Encoder
	for b.Loop() {
		e.Buf = e.Buf[:0]
		m := e.Begin(Sequence)
		for range 20 {
			a := e.Begin(Sequence)
			e.Octets("attribute")
			v := e.Begin(Set)
			e.Octets("some value of usual length")
			e.End(v)
			e.End(a)
		}
		e.End(m)
	}
}

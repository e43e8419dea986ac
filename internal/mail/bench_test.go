package mail

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

const benchHeader = "Return-Path: <alice@example.test>\r\n" +
	"Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.example.test with ESMTPS id 4XyZ\r\n\tfor <bob@example.test>; Tue, 3 Mar 2026 10:11:12 +0100\r\n" +
	"Date: Tue, 3 Mar 2026 10:11:12 +0100\r\nFrom: Alice Example <alice@example.test>\r\n" +
	"To: Bob Example <bob@example.test>, carol@example.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from the office\r\n" +
	"Message-ID: <abc.def@example.test>\r\nIn-Reply-To: <xyz@example.test>\r\nReferences: <uvw@example.test>\r\n <xyz@example.test>\r\n" +
	"MIME-Version: 1.0\r\n"

var (
	benchText  = strings.Repeat("The quick brown fox jumps over the lazy dog, and then it does it again.\r\n", 130)
	benchPlain = []byte(benchHeader + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + benchText)
	benchMulti = []byte(benchHeader + "Content-Type: multipart/mixed; boundary=\"=_outer\"\r\n\r\n--=_outer\r\n" +
		"Content-Type: multipart/alternative; boundary=\"=_inner\"\r\n\r\n--=_inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + benchText[:2000] +
		"\r\n--=_inner\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<html><body><p>" + benchText[:2000] +
		"</p></body></html>\r\n--=_inner--\r\n--=_outer\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: attachment; filename=\"a.pdf\"\r\n\r\n" + strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 65) + "--=_outer--\r\n")
)

func BenchmarkParse(b *testing.B) {
	for _, m := range []struct {
		name string
		raw  []byte
	}{{"plain", benchPlain}, {"multipart", benchMulti}} {
		b.Run(m.name, func(b *testing.B) {
			b.SetBytes(int64(len(m.raw)))
			b.ReportAllocs()
			for b.Loop() {
				if s, err := Parse(bytes.NewReader(m.raw)); err != nil || s.Preview == "" {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeSummary(b *testing.B) {
	for _, m := range []struct {
		name string
		raw  []byte
	}{{"plain", benchPlain}, {"multipart", benchMulti}} {
		b.Run(m.name, func(b *testing.B) {
			s, _ := Parse(bytes.NewReader(m.raw))
			enc, err := s.AppendBinary(nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(enc)), "encoded-B")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeSummary(enc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	s, _ := Parse(bytes.NewReader(benchMulti))
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = s.AppendBinary(buf[:0])
	}
}

// BenchmarkParseLarge reads a message whose attachment dominates.
func BenchmarkParseLarge(b *testing.B) {
	raw := append([]byte(nil), benchMulti...)
	raw = bytes.Replace(raw, []byte("QUJD\r\n"), bytes.Repeat([]byte(strings.Repeat("QUJD", 19)+"\r\n"), 200_000), 1)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		Parse(bytes.NewReader(raw))
	}
}

func BenchmarkDecodedBase64(b *testing.B) {
	raw := []byte(strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 10_000))
	p := &Part{Encoding: "base64", BodyEnd: int64(len(raw))}
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		io.Copy(io.Discard, p.Decoded(bytes.NewReader(raw)))
	}
}

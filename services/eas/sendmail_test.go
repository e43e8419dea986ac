package eas

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/mail"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

const newMail = "From: Someone Else <else@example.org>\nTo: bob@example.org\nCc: Carol <carol@example.org>\nBcc: dave@example.org\nSubject: Hi\n\nHello\n"

// post sends a message as the version does.
func (p *testPhone) post(t *testing.T, cmd, mime, client string, source ...string) (int, string) {
	t.Helper()
	if p.version < wbxml.V140 {
		w := p.raw(cmd, "message/rfc822", []byte(mime), append(source, "SaveInSent", "T")...)
		return w.Code, w.Body.String()
	}
	root := map[string]wbxml.Tag{
		"SendMail": wbxml.ComposeMailSendMail, "SmartReply": wbxml.ComposeMailSmartReply, "SmartForward": wbxml.ComposeMailSmartForward,
	}[cmd]
	n := wbxml.New(root, wbxml.NewText(wbxml.ComposeMailClientId, client))
	if len(source) > 0 {
		n.Add(wbxml.New(wbxml.ComposeMailSource, wbxml.NewText(wbxml.ComposeMailFolderId, source[1]), wbxml.NewText(wbxml.ComposeMailItemId, source[3])))
	}
	n.Add(wbxml.New(wbxml.ComposeMailSaveInSentItems), wbxml.NewBytes(wbxml.ComposeMailMime, []byte(mime)))
	doc, err := p.do(cmd, n)
	if err != nil {
		t.Fatal(err)
	}
	return http.StatusOK, doc.Get(wbxml.ComposeMailStatus)
}

func (m *memory) last(t *testing.T) (store.Outgoing, string, *mail.Summary) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.outbox) == 0 {
		t.Fatal("nothing was sent")
	}
	o := m.outbox[len(m.outbox)-1]
	raw := string(m.blobs[o.Blob.Hash])
	s, _ := mail.Parse(strings.NewReader(raw))
	return o, raw, s
}

func TestSendMail(t *testing.T) {
	for _, v := range []wbxml.Version{wbxml.V25, wbxml.V121, wbxml.V141, wbxml.V161} {
		t.Run(v.String(), func(t *testing.T) {
			m, s := testServer(t)
			p := &testPhone{h: s, version: v, device: "d"}
			if code, st := p.post(t, "SendMail", newMail, "c1"); code != http.StatusOK || st != "" {
				t.Fatalf("answer %d %q", code, st)
			}
			o, raw, sum := m.last(t)
			if want := []string{"bob@example.org", "carol@example.org", "dave@example.org"}; !slices.Equal(o.Recipients, want) {
				t.Errorf("recipients %v, want %v", o.Recipients, want)
			}
			if o.From != "ann@example.test" || len(sum.From) != 1 || sum.From[0].Addr() != "ann@example.test" {
				t.Errorf("from %q, header %v", o.From, sum.From)
			}
			if strings.Contains(raw, "dave") || sum.MessageID == "" || sum.Date.IsZero() || o.SaveRole != store.RoleSent {
				t.Errorf("message:\n%s", raw)
			}
			if strings.Count(raw, "\n") != strings.Count(raw, "\r\n") {
				t.Errorf("line ends: %q", raw)
			}
			// The answer was lost.
			withID := strings.Replace(newMail, "Subject", "Message-ID: <one@phone>\nSubject", 1)
			for range 2 {
				code, st := p.post(t, "SendMail", withID, "c2")
				if code != http.StatusOK {
					t.Fatalf("answer %d %s", code, st)
				}
			}
			if len(m.outbox) != 2 {
				t.Errorf("%d messages sent, want 2", len(m.outbox))
			}
			if v >= wbxml.V140 {
				if _, st := p.post(t, "SendMail", withID, "c2"); st != "118" {
					t.Errorf("repeated: Status %q, want 118", st)
				}
				if _, st := p.post(t, "SendMail", "Subject: to nobody\n\nx\n", "c3"); st != "119" {
					t.Errorf("without recipients: Status %q, want 119", st)
				}
			} else if code, _ := p.post(t, "SendMail", "Subject: to nobody\n\nx\n", ""); code != http.StatusBadRequest {
				t.Errorf("without recipients: %d", code)
			}
			// An address of the user's own stays.
			p.post(t, "SendMail", strings.Replace(newMail, "else@example.org", "a.miller@example.test", 1), "c4")
			if o, _, sum := m.last(t); o.From != "a.miller@example.test" || sum.From[0].Name != "Someone Else" {
				t.Errorf("own second address: %q %v", o.From, sum.From)
			}
		})
	}
}

func TestSmartReplyAndForward(t *testing.T) {
	htmlReply := "To: bob@example.org\nSubject: Re: Two files\nContent-Type: text/html; charset=utf-8\n\n<html><body>Grüße</body></html>\n"
	plainReply := "To: bob@example.org\nSubject: Re: Two files\nContent-Type: text/plain; charset=utf-8\n\nGrüße\n"
	for _, v := range []wbxml.Version{wbxml.V25, wbxml.V141} {
		for _, tc := range []struct {
			cmd, mime string
			files     int
			want      []string
			verb      string
		}{
			{"SmartReply", plainReply, 0, []string{"Grüße", "Look:", "Two files"}, "reply"},
			{"SmartReply", htmlReply, 1, []string{"Grüße", `<img src="cid:pic">`}, "reply"},
			{"SmartForward", plainReply, 2, []string{"Grüße", "Look:"}, "forward"},
			{"SmartForward", htmlReply, 2, []string{"Grüße", `<img src="cid:pic">`}, "forward"},
		} {
			t.Run(v.String()+" "+tc.cmd, func(t *testing.T) {
				m, s := testServer(t)
				id := m.put(1, samples["files"], time.Now(), 0)
				p := &testPhone{h: s, version: v, device: "d"}
				code, st := p.post(t, tc.cmd, tc.mime, "c1", "CollectionId", "F1", "ItemId", id.String())
				if code != http.StatusOK || st != "" {
					t.Fatalf("answer %d %q", code, st)
				}
				o, raw, sum := m.last(t)
				plain, htm, files := sum.Bodies()
				body := plain
				if htm != nil {
					body = htm
				}
				text, _ := io.ReadAll(body.Text(bytes.NewReader([]byte(raw))))
				for _, w := range tc.want {
					if !strings.Contains(string(text), w) {
						t.Errorf("no %q in\n%s", w, text)
					}
				}
				if len(files) != tc.files {
					t.Errorf("%d files, want %d:\n%s", len(files), tc.files, raw)
				}
				if sum.InReplyTo != "<files@example.org>" || o.Source != id || o.SourceVerb != tc.verb {
					t.Errorf("in reply to %q, source %v %q", sum.InReplyTo, o.Source, o.SourceVerb)
				}
				if len(sum.Defects) > 0 {
					t.Errorf("defects %v:\n%s", sum.Defects, raw)
				}
				for _, f := range files {
					if f.Filename() != "notes.txt" {
						continue
					}
					if b, _ := io.ReadAll(f.Decoded(bytes.NewReader([]byte(raw)))); string(b) != "0123456789" {
						t.Errorf("notes.txt is %q", b)
					}
				}
			})
		}
	}
}

func TestSmartReplyWithoutSource(t *testing.T) {
	m, s := testServer(t)
	p := &testPhone{h: s, version: wbxml.V141, device: "d"}
	if _, st := p.post(t, "SmartReply", newMail, "c", "CollectionId", "F1", "ItemId", "M999"); st != "150" {
		t.Errorf("14.1: Status %q, want 150", st)
	}
	p.version = wbxml.V25
	if code, _ := p.post(t, "SmartReply", newMail, "", "CollectionId", "F1", "ItemId", "M999"); code != http.StatusOK {
		t.Errorf("2.5: %d", code)
	}
	if len(m.outbox) != 1 {
		t.Errorf("%d sent, want 1", len(m.outbox))
	}
}

func TestForwardOfSealedMailIsWhole(t *testing.T) {
	m, s := testServer(t)
	raw := strings.Join([]string{
		"From: b@example.org", "Subject: signed", "MIME-Version: 1.0", `Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary="s"`, "",
		"--s", "", "text", "--s", "Content-Type: application/pkcs7-signature", "", "AAAA", "--s--", "",
	}, "\n")
	id := m.put(1, raw, time.Now(), 0)
	p := &testPhone{h: s, version: wbxml.V141, device: "d"}
	p.post(t, "SmartForward", newMail, "c", "CollectionId", "F1", "ItemId", id.String())
	_, sent, sum := m.last(t)
	_, _, files := sum.Bodies()
	if len(files) != 1 || !files[0].IsMessage() || !strings.Contains(sent, crlf(raw)) {
		t.Errorf("message:\n%s", sent)
	}
}

func TestLineEnds(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb": "a\r\nb", "a\r\nb": "a\r\nb", "a\rb": "a\r\nb", "\r\r\n\n": "\r\n\r\n\r\n", "": "", "x\r": "x\r\n",
	} {
		for cut := 0; cut <= len(in); cut++ {
			m, s := testServer(t)
			w, err := s.composer(&request{server: s}).write(t.Context(), func(w io.Writer) error {
				_, _ = io.WriteString(w, in[:cut])
				_, err := io.WriteString(w, in[cut:])
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := string(m.blobs[w.blob.Hash]); got != want {
				t.Errorf("%q cut at %d: got %q, want %q", in, cut, got, want)
			}
		}
	}
}

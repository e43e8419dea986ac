package imap

import (
	"bytes"
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// The peer is a client that nobody on this project wrote.
func TestWithGoIMAPClient(t *testing.T) {
	d := openMem(t)
	nc := d.dial(t)
	exists := make(chan uint32, 10)
	cl, err := imapclient.NewStartTLS(nc, &imapclient.Options{
		TLSConfig: &tls.Config{InsecureSkipVerify: true},
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{
			Mailbox: func(data *imapclient.UnilateralDataMailbox) {
				if data.NumMessages != nil {
					exists <- *data.NumMessages
				}
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close() //nolint:errcheck // a test's client
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	check("login", cl.Login("ann", "secret").Wait())
	for _, c := range []imap.Cap{imap.CapIMAP4rev2, imap.CapCondStore, imap.CapObjectID, imap.CapUIDPlus, imap.CapLiteralMinus} {
		if !cl.Caps().Has(c) {
			t.Errorf("the client misses %s", c)
		}
	}
	check("create", cl.Create("Projekte/Zürich", nil).Wait())
	check("subscribe", cl.Subscribe("Projekte/Zürich").Wait())
	list, err := cl.List("", "Proj%/%", &imap.ListOptions{
		ReturnSubscribed: true, ReturnChildren: true, ReturnStatus: &imap.StatusOptions{NumMessages: true, UIDValidity: true},
	}).Collect()
	check("list", err)
	if len(list) != 1 || list[0].Mailbox != "Projekte/Zürich" || list[0].Status == nil || *list[0].Status.NumMessages != 0 {
		t.Errorf("list: %+v", list)
	}

	body := []byte("From: =?utf-8?q?J=C3=BCrgen?= <j@example.test>\r\nSubject: one\r\nMessage-ID: <1@example.test>\r\n" +
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\n" +
		"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nAAEC\r\n--b--\r\n")
	ac := cl.Append("INBOX", int64(len(body)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagFlagged, "Work"}, Time: time.Unix(1e9, 0)})
	_, err = ac.Write(body)
	check("append", err)
	check("append", ac.Close())
	ad, err := ac.Wait()
	check("append", err)
	if ad.UID != 1 || ad.UIDValidity == 0 {
		t.Errorf("append: %+v", ad)
	}

	sel, err := cl.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
	check("select", err)
	if sel.NumMessages != 1 || sel.UIDNext != 2 || sel.HighestModSeq == 0 {
		t.Errorf("select: %+v", sel)
	}
	text := &imap.FetchItemBodySection{Part: []int{1}, Peek: true}
	whole := &imap.FetchItemBodySection{}
	msgs, err := cl.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{
		Envelope: true, Flags: true, UID: true, InternalDate: true, RFC822Size: true, ModSeq: true,
		BodyStructure:     &imap.FetchItemBodyStructure{Extended: true},
		BodySection:       []*imap.FetchItemBodySection{text, whole},
		BinarySectionSize: []*imap.FetchItemBinarySectionSize{{Part: []int{2}}},
	}).Collect()
	check("fetch", err)
	m := msgs[0]
	if m.Envelope.Subject != "one" || m.Envelope.From[0].Name != "Jürgen" || m.Envelope.From[0].Addr() != "j@example.test" {
		t.Errorf("envelope: %+v", m.Envelope)
	}
	if !m.InternalDate.Equal(time.Unix(1e9, 0)) || m.RFC822Size != int64(len(body)) || m.ModSeq == 0 {
		t.Errorf("fetch: %+v", m)
	}
	if got := m.FindBodySection(whole); !bytes.Equal(got, body) {
		t.Errorf("body: %q", got)
	}
	if got := m.FindBodySection(text); string(got) != "Hello" {
		t.Errorf("text: %q", got)
	}
	if len(m.BinarySectionSize) != 1 || m.BinarySectionSize[0].Size != 3 {
		t.Errorf("binary size: %+v", m.BinarySectionSize)
	}
	types := []string{}
	m.BodyStructure.Walk(func(_ []int, p imap.BodyStructure) bool { types = append(types, p.MediaType()); return true })
	if len(types) != 3 || types[2] != "application/pdf" {
		t.Errorf("structure: %v", types)
	}
	sd, err := cl.UIDSearch(&imap.SearchCriteria{
		Flag: []imap.Flag{imap.FlagFlagged, "Work"}, Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "ONE"}},
		Body: []string{"hello"}, Larger: 10, Not: []imap.SearchCriteria{{Flag: []imap.Flag{imap.FlagDeleted}}},
	}, &imap.SearchOptions{ReturnAll: true, ReturnCount: true}).Wait()
	check("search", err)
	if sd.Count != 1 || sd.AllUIDs()[0] != 1 {
		t.Errorf("search: %+v", sd)
	}
	stored, err := cl.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagAnswered}}, nil).Collect()
	check("store", err)
	if len(stored) != 1 || stored[0].UID != 1 {
		t.Errorf("store: %+v", stored)
	}
	cd, err := cl.Copy(imap.SeqSetNum(1), "Projekte/Zürich").Wait()
	check("copy", err)
	if len(cd.DestUIDs) != 1 {
		t.Errorf("copy: %+v", cd)
	}
	md, err := cl.Move(imap.UIDSetNum(1), "Projekte/Zürich").Wait()
	check("move", err)
	if md == nil || md.UIDValidity == 0 {
		t.Errorf("move: %+v", md)
	}
	st, err := cl.Status("Projekte/Zürich", &imap.StatusOptions{NumMessages: true, NumUnseen: true, Size: true, HighestModSeq: true}).Wait()
	check("status", err)
	if *st.NumMessages != 2 || *st.Size != int64(2*len(body)) {
		t.Errorf("status: %+v", st)
	}

	for len(exists) > 0 {
		<-exists
	}
	idle, err := cl.Idle()
	check("idle", err)
	d.store.deliver(t, people["ann"], "Subject: pushed\r\n\r\nx\r\n")
	select {
	case n := <-exists:
		if n != 1 {
			t.Errorf("pushed EXISTS %d", n)
		}
	case <-time.After(5 * time.Second):
		t.Error("nothing was pushed")
	}
	check("idle", idle.Close())
	check("idle", idle.Wait())
	_, err = cl.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Collect()
	check("store", err)
	seqs, err := cl.Expunge().Collect()
	check("expunge", err)
	if len(seqs) != 1 {
		t.Errorf("expunge: %v", seqs)
	}
	ns, err := cl.Namespace().Wait()
	check("namespace", err)
	if len(ns.Personal) != 1 || ns.Personal[0].Delim != '/' {
		t.Errorf("namespace: %+v", ns)
	}
	_, err = cl.Enable(imap.CapIMAP4rev2, imap.CapUTF8Accept).Wait()
	check("enable", err)
	list, err = cl.List("", "*", nil).Collect()
	check("list", err)
	if len(list) < 7 {
		t.Errorf("list: %d", len(list))
	}
	check("rename", cl.Rename("Projekte/Zürich", "Projekte/Genève & co", nil).Wait())
	check("delete", cl.Delete("Projekte/Genève & co").Wait())
	check("logout", cl.Logout().Wait())
	if _, err := io.ReadAll(nc); err != nil && !bytes.Contains([]byte(err.Error()), []byte("closed")) {
		t.Logf("after logout: %v", err)
	}
}
